"""A canary: the new version gets a growing share, step by step, and loses it all when it is aborted.

Without traffic routing the share is one of pods; with it, routes give the share and there are pods to serve it.

https://argo-rollouts.readthedocs.io/en/stable/features/canary/
"""

from dataclasses import dataclass

from sampan.control.plan import normal
from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.platform.rollouts import analysis, course, durations, measuring, replica_sets, sizing
from sampan.platform.rollouts.course import Course
from sampan.platform.rollouts.sizing import Crowd

SCALE_DOWN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Track:
    """A course with its canary, whose place among the steps is `index`; beyond the last one everything is moved."""

    course: Course
    canary: Object
    steps: list[Object]
    index: int

    @property
    def is_routed(self) -> bool:
        return bool(self.canary.get("trafficRouting"))

    @property
    def step(self) -> Object:
        return self.steps[self.index] if self.index < len(self.steps) else {}

    @property
    def is_moving(self) -> bool:
        """Whether there is an update that goes on."""
        found = self.course
        return not (found.is_first or found.is_promoted or found.is_aborted)

    def weight(self, index: int) -> int:
        """The share that the steps give up to there."""
        if index >= len(self.steps):
            return 100
        return next((s["setWeight"] for s in reversed(self.steps[: index + 1]) if "setWeight" in s), 0)


def run(found: Course) -> None:
    """What is due now."""
    canary = found.spec["strategy"]["canary"] or {}
    steps: list[Object] = canary.get("steps") or []
    state = found.status["canary"] = dict(found.status.get("canary") or {})
    code, before = course.step_hash(steps), found.before
    is_other = bool(before.get("currentPodHash")) and before["currentPodHash"] != found.hash
    if is_other or (before.get("currentStepHash") or code) != code:
        found.start_anew()
        state.pop("currentStepAnalysisRunStatus", None)
        state.pop("currentBackgroundAnalysisRunStatus", None)
        analysis.end(found)
        index = 0
    else:
        index = min(before.get("currentStepIndex") or 0, len(steps))
    if found.is_first or found.is_promoted or found.is_full:
        index = len(steps)
        state.pop("currentStepAnalysisRunStatus", None)
    track = Track(found, canary, steps, index)
    if "analysis" not in track.step and state.pop("currentStepAnalysisRunStatus", None):
        analysis.end(found, (analysis.STEP,))  # the user went on without it
    if track.is_moving and not found.is_held:
        _background(track)
        track = _advanced(track)
    if found.is_aborted and not (found.is_first or found.is_promoted):
        analysis.end(found)
        found.unpause()
        track = Track(found, canary, steps, 0)
    if track.index >= len(steps):
        analysis.end(found)
    _finish(track)
    _resize(track)
    _route(track)
    if steps:
        found.status["currentStepIndex"] = len(steps) if found.is_promoted else track.index
    else:
        found.status.pop("currentStepIndex", None)
    found.status["currentStepHash"] = code


# Steps


def _background(track: Track) -> None:
    found, given = track.course, track.canary.get("analysis")
    state = found.status["canary"]
    if not given or track.index < (given.get("startingStep") or 0) or track.index >= len(track.steps):
        return
    before = state.get("currentBackgroundAnalysisRunStatus")
    if found.was_unpaused and (before or {}).get("status") == measuring.INCONCLUSIVE:
        before = None  # the user went on: what comes is measured anew
        found.unpause()
    told = analysis.look(found, analysis.BACKGROUND, given, before)
    if told:
        state["currentBackgroundAnalysisRunStatus"] = told
        _heed(found, analysis.BACKGROUND, told)


def _heed(found: Course, kind: str, told: Object) -> bool:
    """Whether the update may go on for all that the run says."""
    if analysis.is_bad(told):
        found.abort(analysis.why(kind, told))
    elif told.get("status") == measuring.INCONCLUSIVE:
        if found.was_unpaused:
            found.unpause()
            return True
        found.pause(course.INCONCLUSIVE_PAUSE)
    return told.get("status") == measuring.SUCCESSFUL


def _advanced(track: Track) -> Track:
    """One step further, if the present one is over."""
    found = track.course
    if found.is_aborted or not track.step or found.paused_since(course.INCONCLUSIVE_PAUSE) is not None:
        return track
    if not _is_over(track):
        return track
    number, told = track.index + 1, _shown(track.step)
    found.events.append(normal("RolloutStepCompleted", f"Rollout step {number}/{len(track.steps)} completed ({told})"))
    found.status["canary"].pop("currentStepAnalysisRunStatus", None)
    found.unpause()
    return Track(found, track.canary, track.steps, number)


def _is_over(track: Track) -> bool:
    step, found = track.step, track.course
    if "pause" in step:
        return _is_pause_over(found, (step["pause"] or {}).get("duration"))
    if "analysis" in step:
        state = found.status["canary"]
        before = state.get("currentStepAnalysisRunStatus")
        told = analysis.look(found, analysis.STEP, step["analysis"], before, track.index)
        state["currentStepAnalysisRunStatus"] = told
        return _heed(found, analysis.STEP, told)
    if not _is_settled(track):
        return False
    return not track.is_routed or "setWeight" not in step or _routed(found) == track.weight(track.index)


def _is_pause_over(found: Course, duration: int | str | None) -> bool:
    since = found.paused_since(course.CANARY_PAUSE)
    if since is None:
        if found.was_unpaused:
            return True
        found.pause(course.CANARY_PAUSE)
        since = found.now
    if duration is None:
        return False
    left = since + durations.seconds(duration) - found.now
    if left > 0:
        found.again.append(left)
    return left <= 0


def _shown(step: Object) -> str:
    if "setWeight" in step:
        return f"setWeight: {step['setWeight']}"
    if "pause" in step:
        duration = (step["pause"] or {}).get("duration")
        return "pause" if duration is None else f"pause: {duration}"
    if "analysis" in step:
        return "analysis"
    name, value = next(iter((step.get("setCanaryScale") or {"": ""}).items()))
    return f"setCanaryScale{{{name}: {str(value).lower()}}}"


def _routed(found: Course) -> int:
    """The share that routes give since an earlier look."""
    weights = (found.before.get("canary") or {}).get("weights") or {}
    return int((weights.get("canary") or {}).get("weight") or 0)


def _finish(track: Track) -> None:
    """Promotes the new version when it does all the work."""
    found = track.course
    if found.is_promoted or found.is_held or not found.is_full_size(found.new, found.replicas):
        return
    if found.is_first:
        found.promote("Initial deploy")
    elif not found.is_aborted and track.index >= len(track.steps) and (not track.is_routed or _routed(found) == 100):
        why = "Full promotion requested" if found.is_full else f"Completed all {len(track.steps)} canary steps"
        found.promote(why)


# Sizes


def _wanted(track: Track, index: int) -> tuple[int, int]:
    """(canary, stable): how many pods each is to have in the end of this step."""
    found, weight = track.course, track.weight(index)
    if found.is_promoted or found.is_first:
        return found.replicas, 0
    if found.is_aborted:
        return 0, found.replicas
    if not track.is_routed:
        return sizing.split(sizing.bounds(track.canary, found.replicas), weight)
    return _canary_scale(track, index), found.replicas


def _canary_scale(track: Track, index: int) -> int:
    replicas = track.course.replicas
    if index >= len(track.steps):
        return replicas
    given = next((s["setCanaryScale"] for s in reversed(track.steps[: index + 1]) if "setCanaryScale" in s), None)
    if given is not None and given.get("replicas") is not None:
        return int(given["replicas"])
    if given is not None and given.get("weight") is not None:
        return sizing.scaled(replicas, given["weight"])
    return sizing.scaled(replicas, track.weight(index))


def _is_settled(track: Track) -> bool:
    """Whether there are as many pods of both as this step wants."""
    found = track.course
    canary, stable = _wanted(track, track.index)
    others = found.others if not track.is_routed else []
    is_alone = not any(map(replica_sets.size, others)) and not replica_sets.total(others, "replicas")
    return is_alone and found.is_full_size(found.new, canary) and found.is_full_size(found.stable, stable)


def _resize(track: Track) -> None:
    found = track.course
    canary, stable = _wanted(track, track.index)
    if not track.is_routed:
        _move(track, canary, stable)
        return
    if found.is_aborted and not (found.is_promoted or found.is_first):
        found.retire([found.new], _delay(track.canary.get("abortScaleDownDelaySeconds"), none_at_zero=True))
    else:
        found.keep(found.new, canary)
    previous = found.stable if found.stable is not found.new else None
    others = [*found.others]
    if found.is_promoted and previous is not None:
        others.append(previous)
    else:
        found.keep(previous, stable)
    found.retire(others, _delay(track.canary.get("scaleDownDelaySeconds")))


def _delay(given: int | None, *, none_at_zero: bool = False) -> float | None:
    if given is None:
        return SCALE_DOWN_SECONDS
    return None if none_at_zero and given == 0 else float(given)


def _move(track: Track, canary: int, stable: int) -> None:
    """By and by, within what may be too many or too few."""
    found = track.course
    new, old = _crowd(found.new, canary), []
    if found.stable is not None and found.stable is not found.new:
        old = [_crowd(found.stable, stable)]
    first = [*old, new] if found.is_aborted else [new, *old]
    crowds = [*first, *(_crowd(replica_set, 0) for replica_set in found.others)]
    found.sizes |= sizing.moved(sizing.bounds(track.canary, found.replicas), crowds)


def _crowd(replica_set: Object, wanted: int) -> Crowd:
    size, available = replica_sets.size(replica_set), replica_sets.count(replica_set)
    return Crowd(objects.name(replica_set), size, available, wanted)


# Traffic


def _route(track: Track) -> None:
    """Which pods the Services select, and the share that the routes give."""
    found, canary = track.course, track.canary
    is_there = replica_sets.count(found.new) > 0
    if name := canary.get("canaryService"):
        found.selectors[name] = found.hash if is_there or found.is_first else found.stable_hash
    if name := canary.get("stableService"):
        found.selectors[name] = found.stable_hash or found.hash
    state = found.status["canary"]
    if not track.is_routed:
        state.pop("weights", None)
        return
    found.weight = _share(track) if is_there else 0
    state["weights"] = {
        "canary": {"weight": found.weight, "serviceName": canary["canaryService"], "podTemplateHash": found.hash},
        "stable": {
            "weight": 100 - found.weight,
            "serviceName": canary["stableService"],
            "podTemplateHash": found.stable_hash or found.hash,
        },
    }


def _share(track: Track) -> int:
    found = track.course
    if not track.is_moving:
        return 0
    if track.index >= len(track.steps):
        return 100 if found.is_full_size(found.new, found.replicas) else _routed(found)
    if "setWeight" in track.step and not _is_settled(track):
        return track.weight(track.index - 1) if track.index else 0
    return track.weight(track.index)
