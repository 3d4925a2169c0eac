"""Blue-green: the new version stands beside the old one, is tried, and then gets all the traffic at once.

https://argo-rollouts.readthedocs.io/en/stable/features/bluegreen/
"""

from sampan.kinds.kind import Object
from sampan.platform.rollouts import analysis, course, measuring
from sampan.platform.rollouts.course import Course

SCALE_DOWN_SECONDS = 30.0


def run(found: Course) -> None:
    """What is due now."""
    given, state = found.spec["strategy"]["blueGreen"], dict(found.status.get("blueGreen") or {})
    found.status["blueGreen"] = state
    before = found.before
    if before.get("currentPodHash") and before["currentPodHash"] != found.hash:
        found.start_anew()
        for name in ("prePromotionAnalysisRunStatus", "postPromotionAnalysisRunStatus", "scaleUpPreviewCheckPoint"):
            state.pop(name, None)
        analysis.end(found)
    if found.is_first or found.is_promoted:
        _settle(found, state)
    elif found.is_aborted:
        _go_back(found, given, state)
    elif state.get("activeSelector") == found.hash:
        _judge(found, given, state)
    else:
        _preview(found, given, state)
    state["previewSelector"] = found.hash
    _select(found, given, state)
    found.retire(_old(found), _delay(given.get("scaleDownDelaySeconds"), kept_at_zero=False))


def _settle(found: Course, state: Object) -> None:
    """The only version that there is."""
    found.keep(found.new, found.replicas)
    if found.is_promoted or found.is_full_size(found.new, found.replicas):
        state["activeSelector"] = found.hash
        if found.is_first:
            found.promote("Initial deploy")


def _preview(found: Course, given: Object, state: Object) -> None:
    """Before all traffic goes to the new version."""
    count = given.get("previewReplicaCount")
    is_small = count is not None and not state.get("scaleUpPreviewCheckPoint") and not found.is_full
    wanted = min(count, found.replicas) if is_small and count is not None else found.replicas
    found.keep(found.new, wanted)
    found.keep(found.stable, found.replicas)
    if found.is_held or not found.is_full_size(found.new, wanted):
        return
    if not found.is_full and not state.get("scaleUpPreviewCheckPoint") and not _is_cleared(found, given, state):
        if found.is_aborted:
            _go_back(found, given, state)
        return
    found.unpause()
    if wanted < found.replicas:
        state["scaleUpPreviewCheckPoint"] = True
        found.keep(found.new, found.replicas)
    else:
        state["activeSelector"] = found.hash


def _is_cleared(found: Course, given: Object, state: Object) -> bool:
    """Whether the analysis before it is passed and the pause is over."""
    if given.get("prePromotionAnalysis") and not _is_passed(
        found, analysis.PRE, given["prePromotionAnalysis"], "prePromotionAnalysisRunStatus"
    ):
        return False
    is_automatic = given.get("autoPromotionEnabled") is not False
    seconds = given.get("autoPromotionSeconds") if is_automatic else None
    since = found.paused_since(course.BLUE_GREEN_PAUSE)
    if is_automatic and not seconds:
        return True
    if since is None:
        if found.was_unpaused:
            return True
        found.pause(course.BLUE_GREEN_PAUSE)
        since = found.now
    if not seconds:
        return False
    left = since + seconds - found.now
    if left > 0:
        found.again.append(left)
    return bool(left <= 0)


def _judge(found: Course, given: Object, state: Object) -> None:
    """After all traffic has gone to it."""
    found.keep(found.new, found.replicas)
    found.keep(found.stable, found.replicas)
    after = given.get("postPromotionAnalysis")
    if after and not found.is_full and not _is_passed(found, analysis.POST, after, "postPromotionAnalysisRunStatus"):
        if found.is_aborted:
            _go_back(found, given, state)
        return
    if not found.is_held:
        found.promote("Full promotion requested" if found.is_full else "Completed blue-green update")


def _is_passed(found: Course, kind: str, given: Object, field: str) -> bool:
    """Whether the analysis says that the update may go on; it is aborted or paused if not."""
    state = found.status["blueGreen"]
    told = analysis.look(found, kind, given, state.get(field))
    if not told:
        return False
    state[field] = told
    if analysis.is_bad(told):
        found.abort(analysis.why(kind, told))
    elif told["status"] == measuring.INCONCLUSIVE:
        if found.was_unpaused:
            return True
        found.pause(course.INCONCLUSIVE_PAUSE)
    return bool(told["status"] == measuring.SUCCESSFUL)


def _go_back(found: Course, given: Object, state: Object) -> None:
    """All traffic is the stable version's again; the new one stays for a while."""
    analysis.end(found)
    found.unpause()
    state["activeSelector"] = found.stable_hash
    found.keep(found.stable, found.replicas)
    found.sizes.pop(found.new["metadata"]["name"], None)
    found.retire([found.new], _delay(given.get("abortScaleDownDelaySeconds"), kept_at_zero=True))


def _old(found: Course) -> list[Object]:
    """Those that are neither stable nor new."""
    is_over = found.is_promoted and found.stable is not None and found.stable is not found.new
    return [*found.others, found.stable] if is_over and found.stable is not None else found.others


def _select(found: Course, given: Object, state: Object) -> None:
    if state.get("activeSelector"):
        found.selectors[given["activeService"]] = state["activeSelector"]
    if given.get("previewService"):
        found.selectors[given["previewService"]] = state["previewSelector"]


def _delay(given: int | None, *, kept_at_zero: bool) -> float | None:
    """None for ever."""
    if given is None:
        return SCALE_DOWN_SECONDS
    return None if kept_at_zero and given == 0 else float(given)
