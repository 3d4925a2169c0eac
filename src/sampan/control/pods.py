"""Pods as their controllers see them: availability, counts, and which are the least useful.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
"""

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


def least_useful(pods: Sequence[Object], crowd: Sequence[Object], count: int) -> list[Object]:
    """The `count` pods to delete first. `crowd` are the pods that share nodes with them in the same workload."""
    on_node = Counter(p["spec"].get("nodeName", "") for p in crowd if pod.is_active(p))
    return sorted(pods, key=lambda p: _usefulness(p, on_node))[:count]


def _usefulness(p: Object, on_node: Counter[str]) -> tuple[Any, ...]:
    node = p["spec"].get("nodeName", "")
    status = p.get("status") or {}
    ready = conditions.get(p, "Ready") or {}
    is_ready = ready.get("status") == "True"
    since = timestamps.parse(ready["lastTransitionTime"]) if is_ready and ready.get("lastTransitionTime") else 0.0
    created = p["metadata"].get("creationTimestamp")
    return (
        bool(node),
        PHASES.get(status.get("phase", "Pending"), 2),
        is_ready,
        _cost(p),
        -on_node[node] if node else 0,
        -since,
        -max((s.get("restartCount", 0) for s in status.get("containerStatuses") or ()), default=0),
        -timestamps.parse(created) if created else 0.0,
        objects.name(p),
    )


def _cost(p: Object) -> int:
    try:
        return int(objects.annotations(p).get(COST, "0"))
    except ValueError:
        return 0
