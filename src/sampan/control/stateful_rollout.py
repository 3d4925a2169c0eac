"""Stateful rollout: which of a StatefulSet's pods an update replaces now, and which revision a new pod is of.

Pods are replaced from the highest ordinal down to the partition: one at a time; or, where the feature gate is open, so
many that no more than maxUnavailable of all the set's pods can't be counted on.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#rolling-updates
"""

from sampan.control import stateful_pods
from sampan.control.stateful_pods import Line
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects


def outdated(stateful_set: Object, line: Line, update: str, now: float) -> list[Object]:
    """The highest pod of another revision than `update`; none while a higher one is not available, or to wait for a user."""
    if is_on_delete(stateful_set):
        return []
    for p in reversed(line.replicas[partition(stateful_set) :]):
        if p is not None and _is_old(p, update):
            return [p]
        if stateful_pods.is_unavailable(stateful_set, p, now):
            return []
    return []


def outdated_by_budget(stateful_set: Object, line: Line, update: str, now: float) -> list[Object]:
    """As many as may be unavailable, less those that are, the highest first.

    Old pods that are not available anyway don't count where all are made and ended in parallel: they go at once, since
    waiting for them might never end.
    """
    if is_on_delete(stateful_set):
        return []
    missing = sum(stateful_pods.is_unavailable(stateful_set, p, now) for p in line.replicas)
    left = max(max_unavailable(stateful_set) - missing, 0)
    old = [p for p in reversed(line.replicas[partition(stateful_set) :]) if p is not None and _is_old(p, update)]
    if stateful_pods.is_ordered(stateful_set):
        return old[:left]
    broken = [p for p in old if stateful_pods.is_unavailable(stateful_set, p, now)]
    return [*broken, *[p for p in old if not stateful_pods.is_unavailable(stateful_set, p, now)][:left]]


def max_unavailable(stateful_set: Object) -> int:
    """A percentage is rounded down, but to one at least."""
    value = _rolling(stateful_set).get("maxUnavailable")
    return max(intstr.scaled(1 if value is None else value, stateful_pods.size(stateful_set), round_up=False), 1)


def partition(stateful_set: Object) -> int:
    """How many of the lowest pods an update leaves as they are."""
    return int(_rolling(stateful_set).get("partition") or 0)


def is_on_delete(stateful_set: Object) -> bool:
    """Whether pods are replaced only when a user deletes them."""
    return bool(_strategy(stateful_set).get("type") == "OnDelete")


def is_of_current(stateful_set: Object, number: int) -> bool:
    """Whether a pod of this ordinal is made of the revision that the set comes from."""
    strategy = _strategy(stateful_set)
    if strategy.get("rollingUpdate") is not None:
        kept = partition(stateful_set)
    elif strategy.get("type") == "RollingUpdate":
        kept = int((stateful_set.get("status") or {}).get("currentReplicas") or 0)
    else:
        kept = 0
    return number < stateful_pods.start(stateful_set) + kept


def _is_old(p: Object, update: str) -> bool:
    return stateful_pods.revision_of(p) != update and not objects.is_deleting(p)


def _strategy(stateful_set: Object) -> Object:
    return stateful_set["spec"].get("updateStrategy") or {}


def _rolling(stateful_set: Object) -> Object:
    return _strategy(stateful_set).get("rollingUpdate") or {}
