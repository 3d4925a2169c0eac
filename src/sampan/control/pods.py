"""Pods as their controllers see them: availability, counts, and which are the least useful.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps

COST = "controller.kubernetes.io/pod-deletion-cost"
PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def available_at(p: Object, min_ready_seconds: int) -> float | None:
    """Since when, or from when on, the pod is available; None while it is not ready."""
    ready = conditions.get(p, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    if not min_ready_seconds:
        return 0.0
    return timestamps.parse(ready["lastTransitionTime"]) + min_ready_seconds


def is_available(p: Object, min_ready_seconds: int, now: float) -> bool:
    """Whether the pod has been ready for so long."""
    at = available_at(p, min_ready_seconds)
    return at is not None and at <= now


def least_useful(pods: Sequence[Object], crowd: Sequence[Object], count: int, now: float) -> list[Object]:
    """The `count` pods to delete first. `crowd` are the pods that share nodes with them in the same workload.

    Of pods whose age is of the same order of magnitude, chance decides, by their uids: else a scaling down
    would always take the same ones, such as those that a scaling up has spread over other zones.
    """
    on_node = Counter(p["spec"].get("nodeName", "") for p in crowd if pod.is_active(p))

    def compared(first: tuple[Any, Object], second: tuple[Any, Object]) -> int:
        if first[0] != second[0]:
            return -1 if first[0] < second[0] else 1
        return _by_age(first[1], second[1], now)

    ranked = [(_usefulness(p, on_node), p) for p in pods]
    ranked.sort(key=functools.cmp_to_key(compared))
    return [p for _, p in ranked[:count]]


def progress(p: Object) -> tuple[Any, ...]:
    """What orders pods by how far they have come, those that have done least first."""
    phase = PHASES.get((p.get("status") or {}).get("phase", "Pending"), 2)
    is_ready, restarts = pod.is_ready(p), _restarts(p)
    since = -_ready_since(p) if is_ready else 0.0
    return pod.is_scheduled(p), phase, is_ready, since, -restarts[0], -restarts[1], -_created(p)


def _usefulness(p: Object, on_node: Counter[str]) -> tuple[Any, ...]:
    """What counts before any age does."""
    node, status = p["spec"].get("nodeName", ""), p.get("status") or {}
    phase = PHASES.get(status.get("phase", "Pending"), 2)
    return bool(node), phase, pod.is_ready(p), _cost(p), -on_node[node] if node else 0


def _by_age(a: Object, b: Object, now: float) -> int:
    by_chance = -1 if objects.uid(a) < objects.uid(b) else 1
    if pod.is_ready(a) and _ready_since(a) != _ready_since(b):
        return _magnitude(_ready_since(a), now) - _magnitude(_ready_since(b), now) or by_chance
    if _restarts(a) != _restarts(b):
        return -1 if _restarts(a) > _restarts(b) else 1
    if _created(a) != _created(b):
        return _magnitude(_created(a), now) - _magnitude(_created(b), now) or by_chance
    return -1 if objects.name(a) < objects.name(b) else 1


def _magnitude(since: float, now: float) -> int:
    """The power of two of an age, from nanoseconds on."""
    age = (now - since) * 1e9
    return math.floor(math.log2(age)) if age >= 1.0 else -1


def _ready_since(p: Object) -> float:
    ready = conditions.get(p, "Ready") or {}
    return timestamps.parse(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else 0.0


def _created(p: Object) -> float:
    created = p["metadata"].get("creationTimestamp")
    return timestamps.parse(created) if created else 0.0


def _restarts(p: Object) -> tuple[int, int]:
    """The most that one of its containers has restarted, then of its sidecars."""
    status = p.get("status") or {}
    sidecars = {c["name"] for c in p["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    inits = [s for s in status.get("initContainerStatuses") or () if s["name"] in sidecars]
    return _most(status.get("containerStatuses") or ()), _most(inits)


def _most(statuses: Sequence[Object]) -> int:
    return max((s.get("restartCount", 0) for s in statuses), default=0)


def _cost(p: Object) -> int:
    try:
        return int(objects.annotations(p).get(COST, "0"))
    except ValueError:
        return 0
