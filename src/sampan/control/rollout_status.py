"""Rollout status: what a Deployment says about itself, judged from its ReplicaSets.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
"""

from collections.abc import Sequence

from sampan.control import rollout
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps

COUNTS = ("replicas", "readyReplicas", "availableReplicas")
TIMED_OUT = "ProgressDeadlineExceeded"
COMPLETE = "NewReplicaSetAvailable"
UNLIMITED = 2**31 - 1


def status(deployment: Object, new: Object | None, old: Sequence[Object], now: float) -> Object:
    """Counts and the Available condition; Progressing and the others stay as they were."""
    everything = [*old, new] if new is not None else list(old)
    before = deployment.get("status") or {}
    made: Object = {name: sum(rollout.observed(r, name) for r in everything) or None for name in COUNTS}
    made["updatedReplicas"] = rollout.observed(new, "replicas") or None
    available = made["availableReplicas"] or 0
    made["unavailableReplicas"] = max(rollout.total(everything) - available, 0) or None
    made["terminatingReplicas"] = sum(rollout.observed(r, "terminatingReplicas") for r in everything)
    made["collisionCount"] = before.get("collisionCount")
    made["observedGeneration"] = objects.generation(deployment)
    least = rollout.size(deployment) - rollout.bounds(deployment)[1]
    if available >= least:
        text = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        text = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    made["conditions"] = changed(before.get("conditions") or [], "Available", text, now)
    return made


def with_progress(deployment: Object, new: Object | None, old: Sequence[Object], now: float) -> Object:
    """The status with Progressing and ReplicaFailure judged as well."""
    made = status(deployment, new, old, now)
    listed = made["conditions"]
    if not has_deadline(deployment):
        listed = conditions.remove(listed, "Progressing")
    elif not _was_complete(deployment, made):
        listed = _progressing(deployment, made, new, now)
    failure = next((c for r in (new, *old) if r for c in [conditions.get(r, "ReplicaFailure")] if c), None)
    if failure is not None:
        text = (failure.get("status", ""), failure.get("reason", ""), failure.get("message", ""))
        listed = changed(listed, "ReplicaFailure", text, now)
    else:
        listed = conditions.remove(listed, "ReplicaFailure")
    return {**made, "conditions": listed}


def has_deadline(deployment: Object) -> bool:
    """Whether progress is watched."""
    return int(deployment["spec"].get("progressDeadlineSeconds", UNLIMITED)) != UNLIMITED


def is_complete(deployment: Object, made: Object) -> bool:
    """All replicas are of the new template and available, and the old ones are gone."""
    wanted = rollout.size(deployment)
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    is_seen = int(made.get("observedGeneration", 0)) >= objects.generation(deployment)
    return is_seen and all(int(made.get(name) or 0) == wanted for name in counts)


def seconds_to_deadline(deployment: Object, made: Object, now: float) -> float | None:
    """When to look again for a rollout that may be stuck; None when it can't be."""
    condition = conditions.find(made["conditions"], "Progressing")
    if condition is None or condition.get("reason") in (TIMED_OUT, COMPLETE) or not has_deadline(deployment):
        return None
    return max(_deadline(deployment, condition) - now, 0.0) + 1.0


def _deadline(deployment: Object, condition: Object) -> float:
    """When a rollout that has not moved since the condition was written misses its deadline."""
    updated = condition.get("lastUpdateTime")
    return (timestamps.parse(updated) if updated else 0.0) + float(deployment["spec"]["progressDeadlineSeconds"])


def changed(
    listed: list[Object], type: str, text: tuple[str, str, str], now: float, *, force: bool = False
) -> list[Object]:
    """Conditions with one saying (status, reason, message). The same status and reason change nothing."""
    current = conditions.find(listed, type)
    if current and not force and (current.get("status"), current.get("reason")) == text[:2]:
        return list(listed)
    stamp = timestamps.format(now)
    moved = (current or {}).get("lastTransitionTime") if current and current.get("status") == text[0] else None
    moved = moved or stamp
    made = {"type": type, "status": text[0], "lastUpdateTime": stamp, "lastTransitionTime": moved}
    return [*conditions.remove(listed, type), {**made, "reason": text[1], "message": text[2]}]


def _was_complete(deployment: Object, made: Object) -> bool:
    current = conditions.find(made["conditions"], "Progressing")
    same = bool((made["replicas"] or 0) == (made["updatedReplicas"] or 0))
    return same and current is not None and current.get("reason") == COMPLETE


def _progressing(deployment: Object, made: Object, new: Object | None, now: float) -> list[Object]:
    listed: list[Object] = made["conditions"]
    what = f'ReplicaSet "{objects.name(new)}"' if new is not None else f'Deployment "{objects.name(deployment)}"'
    if is_complete(deployment, made):
        return changed(listed, "Progressing", ("True", COMPLETE, f"{what} has successfully progressed."), now)
    if _has_moved(deployment.get("status") or {}, made):
        text = ("True", "ReplicaSetUpdated", f"{what} is progressing.")
        return changed(listed, "Progressing", text, now, force=True)
    if _is_timed_out(deployment, listed, now):
        return changed(listed, "Progressing", ("False", TIMED_OUT, f"{what} has timed out progressing."), now)
    return listed


def _has_moved(before: Object, made: Object) -> bool:
    def count(status: Object, name: str) -> int:
        return status.get(name) or 0

    def old_pods(status: Object) -> int:
        return count(status, "replicas") - count(status, "updatedReplicas")

    gained = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return any(count(made, f) > count(before, f) for f in gained) or old_pods(made) < old_pods(before)


def _is_timed_out(deployment: Object, listed: list[Object], now: float) -> bool:
    current = conditions.find(listed, "Progressing")
    if current is None or current.get("reason") == COMPLETE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    return _deadline(deployment, current) < now
