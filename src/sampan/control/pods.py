"""Pods as their controllers see them: availability, counts, and which are the least useful.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps

COST = "controller.kubernetes.io/pod-deletion-cost"
TARGET = "DisruptionTarget"
MANY = 100
REST_SECONDS = 0.0001  # for each of many
PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def rest(count: int) -> float:
    """For how many seconds a look at so many pods is enough: what it costs must not grow with the changes of each."""
    return count * REST_SECONDS if count >= MANY else 0.0


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


def disruption_target(p: Object, reason: str, message: str, now: float) -> Object:
    """The condition that says that it is about to be ended, by whom; since when one has been there already."""
    listed = conditions.set((p.get("status") or {}).get("conditions"), TARGET, "True", reason, message, now)
    return next(condition for condition in listed if condition.get("type") == TARGET)


def least_useful(pods: Sequence[Object], crowd: Sequence[Object], count: int, now: float) -> list[Object]:
    """The `count` pods to delete first. `crowd` are the pods that share nodes with them in the same workload.

    Of pods whose age is of the same order of magnitude, chance decides, by their uids: else a scaling down
    would always take the same ones, such as those that a scaling up has spread over other zones.
    """
    on_node = Counter(p["spec"].get("nodeName", "") for p in crowd if pod.is_active(p))

    def compared(first: _Ranked, second: _Ranked) -> int:
        if first.usefulness != second.usefulness:
            return -1 if first.usefulness < second.usefulness else 1
        return _by_age(first, second)

    ranked = [_ranked(p, on_node, now) for p in pods]
    ranked.sort(key=functools.cmp_to_key(compared))
    return [each.pod for each in ranked[:count]]


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


@dataclass(slots=True)
class _Ranked:
    """What is compared of a pod, read once. Ages are orders of magnitude; `ready` is None for a pod that is not."""

    pod: Object
    usefulness: tuple[Any, ...]
    ready: float | None
    ready_age: int
    restarts: tuple[int, int]
    created: float
    created_age: int
    uid: str
    name: str


def _ranked(p: Object, on_node: Counter[str], now: float) -> _Ranked:
    ready, created = _ready_since(p) if pod.is_ready(p) else None, _created(p)
    ages = _magnitude(ready or 0.0, now), _magnitude(created, now)
    names = objects.uid(p), objects.name(p)
    return _Ranked(p, _usefulness(p, on_node), ready, ages[0], _restarts(p), created, ages[1], *names)


def _by_age(a: _Ranked, b: _Ranked) -> int:
    if a.ready != b.ready:
        return a.ready_age - b.ready_age or (-1 if a.uid < b.uid else 1)
    if a.restarts != b.restarts:
        return -1 if a.restarts > b.restarts else 1
    if a.created != b.created:
        return a.created_age - b.created_age or (-1 if a.uid < b.uid else 1)
    return -1 if a.name < b.name else 1


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
    inits = [s for s in status.get("initContainerStatuses") or () if s.get("name") in sidecars]
    return _most(status.get("containerStatuses") or ()), _most(inits)


def _most(statuses: Sequence[Object]) -> int:
    return max((s.get("restartCount", 0) for s in statuses), default=0)


def _cost(p: Object) -> int:
    try:
        return int(objects.annotations(p).get(COST, "0"))
    except ValueError:
        return 0
