"""Progress: the counts, conditions, phase and message by which a Rollout tells how far it is.

https://argo-rollouts.readthedocs.io/en/stable/features/kubectl-plugin/
"""

from collections.abc import Sequence
from typing import Any

from sampan.control.plan import warning
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps
from sampan.platform.rollouts import replica_sets
from sampan.platform.rollouts.course import Course

DEADLINE_SECONDS = 600
PAUSED, RESUMED, ABORTED, RETRY = "RolloutPaused", "RolloutResumed", "RolloutAborted", "RolloutRetry"
TIMED_OUT, COMPLETE, UPDATED = "ProgressDeadlineExceeded", "NewReplicaSetAvailable", "ReplicaSetUpdated"
INVALID = "InvalidSpec"
_PROGRESSING, _HEALTHY = "Progressing", "Healthy"

Said = tuple[str, str, str]


def tell(course: Course) -> None:
    """Completes the next status."""
    _count(course)
    _judge(course)
    phase, message = phase_of(course.rollout, course.status)
    _say(course, _HEALTHY, _healthy(is_so=phase == "Healthy"))
    course.status["phase"], course.status["message"] = phase, message or None


def held(rollout: Object, found: Sequence[Object], now: float) -> Object:
    """The status of who must not begin with its present template."""
    before = rollout.get("status") or {}
    listed = conditions.remove(before.get("conditions"), INVALID)
    listed = changed(listed, _PROGRESSING, ("Unknown", PAUSED, "Rollout is paused"), now)
    listed = changed(listed, "Paused", ("True", PAUSED, "Rollout is paused"), now)
    made = {**before, "conditions": listed, "observedGeneration": str(objects.generation(rollout))}
    active = (before.get("blueGreen") or {}).get("activeSelector")
    counted = [each for each in found if not active or replica_sets.hash_label(each) == active]
    made["replicas"] = replica_sets.total(found, "replicas")
    made["readyReplicas"] = replica_sets.total(found, "readyReplicas")
    made["availableReplicas"] = replica_sets.total(counted)
    made["HPAReplicas"] = replica_sets.total(counted, "replicas")
    made["phase"], made["message"] = phase_of(rollout, made)
    return made


def _healthy(*, is_so: bool) -> Said:
    text = "Rollout is healthy" if is_so else "Rollout is not healthy"
    return ("True" if is_so else "False", "RolloutHealthy", text)


def _count(course: Course) -> None:
    everything, status = course.everything, course.status
    status["currentPodHash"] = course.hash
    status["replicas"] = replica_sets.total(everything, "replicas")
    status["updatedReplicas"] = replica_sets.count(course.new, "replicas")
    status["readyReplicas"] = replica_sets.total(everything, "readyReplicas")
    counted = everything
    if "blueGreen" in course.spec["strategy"]:
        active = (status.get("blueGreen") or {}).get("activeSelector")
        counted = [found for found in everything if replica_sets.hash_label(found) == active]
    status["availableReplicas"] = replica_sets.total(counted)
    status["HPAReplicas"] = replica_sets.total(counted, "replicas")
    status["selector"] = _selector_text(course)
    status["observedGeneration"] = str(objects.generation(course.rollout))


def _selector_text(course: Course) -> str:
    labels = course.spec["selector"].get("matchLabels") or {}
    parts = [f"{name}={value}" for name, value in sorted(labels.items())]
    words = {"In": "in", "NotIn": "notin"}
    for each in course.spec["selector"].get("matchExpressions") or ():
        values = ",".join(sorted(each.get("values") or ()))
        plain = each["key"] if each["operator"] == "Exists" else f"!{each['key']}"
        parts.append(f"{each['key']} {words[each['operator']]} ({values})" if each["operator"] in words else plain)
    active = (course.status.get("blueGreen") or {}).get("activeSelector")
    return ",".join([*parts, *([f"rollouts-pod-template-hash={active}"] if active else ())])


# Conditions


def _judge(course: Course) -> None:
    listed = conditions.remove(course.status.get("conditions"), INVALID)
    course.status["conditions"] = listed
    present = conditions.find(listed, _PROGRESSING) or {}
    is_paused = course.is_held or bool(course.status.get("pauseConditions"))
    if present.get("reason") == ABORTED and not course.is_aborted:
        _say(course, _PROGRESSING, ("Unknown", RETRY, "Retrying Rollout"))
    if is_paused:
        _say(course, _PROGRESSING, ("Unknown", PAUSED, "Rollout is paused"))
    elif present.get("reason") == PAUSED:
        _say(course, _PROGRESSING, ("Unknown", RESUMED, "Rollout is resumed"))
    if is_paused or conditions.find(listed, "Paused") is not None:
        _say(course, "Paused", ("True" if is_paused else "False", PAUSED, "Rollout is paused"))
    if not is_paused:
        _progress(course)
    is_available = (course.status["availableReplicas"] or 0) >= course.replicas
    text = "Rollout has minimum availability" if is_available else "Rollout does not have minimum availability"
    _say(course, "Available", ("True" if is_available else "False", "AvailableReason", text))
    if course.is_promoted and _is_complete(course):
        _say(course, "Completed", ("True", "RolloutCompleted", "RolloutCompleted"))
    else:
        text = f"Rollout not completed, started update to revision {course.revision} ({course.hash})"
        _say(course, "Completed", ("False", "RolloutNotCompleted", text))
    failure = next((c for r in course.everything if (c := conditions.get(r, "ReplicaFailure"))), None)
    if failure is not None:
        _say(
            course, "ReplicaFailure", (failure.get("status", ""), failure.get("reason", ""), failure.get("message", ""))
        )
    else:
        course.status["conditions"] = conditions.remove(course.status["conditions"], "ReplicaFailure")


def _progress(course: Course) -> None:
    """Whether it goes on, is over, or is stuck."""
    what = f'ReplicaSet "{objects.name(course.new)}"'
    present = conditions.find(course.status["conditions"], _PROGRESSING) or {}
    if course.is_aborted and not course.is_promoted:
        text = course.abort_message or f"Rollout aborted update to revision {course.revision}"
        if present.get("reason") != ABORTED and not course.abort_message:  # by the user
            course.events.append(warning(ABORTED, text))
        _say(course, _PROGRESSING, ("False", ABORTED, text))
        return
    if _is_complete(course) and course.is_promoted:
        _say(course, _PROGRESSING, ("True", COMPLETE, f"{what} has successfully progressed."))
        return
    if present.get("reason") == COMPLETE and not _is_update(course):
        return
    if not present or present.get("reason") == COMPLETE or _has_moved(course):
        _say(course, _PROGRESSING, ("True", UPDATED, f"{what} is progressing."), force=True)
        return
    if "analysis" in _step(course):
        return
    limit = course.spec.get("progressDeadlineSeconds") or DEADLINE_SECONDS
    left = timestamps.parse(present["lastUpdateTime"]) + limit - course.now
    if left >= 0 and present.get("reason") != TIMED_OUT:
        course.again.append(left + 1)
    elif present.get("reason") != TIMED_OUT:
        _say(course, _PROGRESSING, ("False", TIMED_OUT, f"{what} has timed out progressing."))


def is_late(course: Course) -> bool:
    """Whether the update was told to be stuck, and is to be aborted for that."""
    present = conditions.get(course.rollout, _PROGRESSING) or {}
    return bool(course.spec.get("progressDeadlineAbort")) and present.get("reason") == TIMED_OUT


def _is_update(course: Course) -> bool:
    return not course.is_promoted


def _step(course: Course) -> Object:
    steps = (course.spec["strategy"].get("canary") or {}).get("steps") or []
    index = course.status.get("currentStepIndex") or 0
    step: Object = steps[index] if index < len(steps) else {}
    return step


def _is_complete(course: Course) -> bool:
    """All pods are of the new version and available, and no other has any but those that wait for their end."""
    status, wanted = course.status, course.replicas
    is_there = status["updatedReplicas"] == wanted and replica_sets.count(course.new) == wanted
    canary = course.spec["strategy"].get("canary")
    is_basic = canary is not None and not canary.get("trafficRouting")
    return bool(is_there and (not is_basic or status["replicas"] == wanted))


def _has_moved(course: Course) -> bool:
    before, made = course.before, course.status

    def count(status: Object, name: str) -> int:
        return status.get(name) or 0

    gained = ("updatedReplicas", "readyReplicas", "availableReplicas")
    stepped = before.get("currentStepIndex") != made.get("currentStepIndex")
    old = count(made, "replicas") - count(made, "updatedReplicas")
    fewer = old < count(before, "replicas") - count(before, "updatedReplicas")
    return stepped or fewer or any(count(made, name) > count(before, name) for name in gained)


def _say(course: Course, type: str, said: Said, *, force: bool = False) -> None:
    course.status["conditions"] = changed(course.status["conditions"], type, said, course.now, force=force)


def changed(listed: list[Object], type: str, said: Said, now: float, *, force: bool = False) -> list[Object]:
    """Conditions with one saying (status, reason, message). The same status and reason change nothing."""
    present: dict[str, Any] = conditions.find(listed, type) or {}
    if not force and (present.get("status"), present.get("reason")) == said[:2]:
        return list(listed)
    stamp = timestamps.format(now)
    moved = present.get("lastTransitionTime") if present.get("status") == said[0] else None
    made = {"type": type, "status": said[0], "lastUpdateTime": stamp, "lastTransitionTime": moved or stamp}
    return [*conditions.remove(listed, type), {**made, "reason": said[1], "message": said[2]}]


# The phase


def phase_of(rollout: Object, status: Object) -> tuple[str, str]:
    """(phase, message) of a status."""
    for condition in status.get("conditions") or ():
        if condition["type"] == INVALID:
            return "Degraded", f"{INVALID}: {condition.get('message', '')}"
        if condition.get("reason") in (ABORTED, TIMED_OUT):
            return "Degraded", f"{condition['reason']}: {condition.get('message', '')}"
    spec = rollout["spec"]
    if spec.get("paused"):
        return "Paused", "manually paused"
    if status.get("pauseConditions"):
        return "Paused", str(status["pauseConditions"][0]["reason"])
    if spec.get("restartAt") and spec["restartAt"] != status.get("restartedAt"):
        return "Progressing", "rollout is restarting"
    message = _waits_for(rollout, status)
    return ("Progressing", message) if message else ("Healthy", "")


def _waits_for(rollout: Object, status: Object) -> str:
    """What is still to come; "" for nothing."""
    updated, strategy = status.get("updatedReplicas") or 0, rollout["spec"]["strategy"]
    if updated < replica_sets.replicas(rollout):
        return "more replicas need to be updated"
    if (status.get("availableReplicas") or 0) < updated:
        return "updated replicas are still becoming available"
    is_promoted = status.get("stableRS") and status.get("stableRS") == status.get("currentPodHash")
    if "blueGreen" in strategy:
        state = status.get("blueGreen") or {}
        if not state.get("activeSelector") or state["activeSelector"] != status.get("currentPodHash"):
            return "active service cutover pending"
        is_judged = bool((strategy["blueGreen"] or {}).get("postPromotionAnalysis"))
        waits = "analysis" if is_judged else "post-promotion verification"
        return "" if is_promoted else f"waiting for {waits} to complete"
    if not (strategy["canary"] or {}).get("trafficRouting") and (status.get("replicas") or 0) > updated:
        return "old replicas are pending termination"
    return "" if is_promoted else "waiting for all steps to complete"
