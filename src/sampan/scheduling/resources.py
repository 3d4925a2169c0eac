"""Resources: how much of a node would be requested with one more pod, as scores see it. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.scheduling.verdict import Demand, Snapshot

Weights = tuple[tuple[str, int], ...]

DEFAULT: Weights = (("cpu", 1), ("memory", 1))
_NATIVE = frozenset(("cpu", "memory", "ephemeral-storage", "storage", "pods"))


def weights(listed: Iterable[Mapping[str, Any]] | None) -> Weights:
    """The resources of a scoring strategy with their weights."""
    found = tuple((str(each["name"]), int(each.get("weight") or 1)) for each in listed or ())
    return found or DEFAULT


def assumed(resource: str, pod: Demand, node: int, snapshot: Snapshot) -> tuple[int, int]:
    """What the node has, and what would be requested, where containers without requests count for something."""
    usage = snapshot.usage[node]
    if resource == "cpu":
        return snapshot.allocatable[node].get("cpu", 0), usage.assumed_cpu + pod.assumed[0]
    if resource == "memory":
        return snapshot.allocatable[node].get("memory", 0), usage.assumed_memory + pod.assumed[1]
    return requested(resource, pod, node, snapshot)


def requested(resource: str, pod: Demand, node: int, snapshot: Snapshot) -> tuple[int, int]:
    """What the node has, and what would be requested; (0, 0) for an extended resource that the pod does not want."""
    wanted = pod.requests.get(resource, 0)
    if not wanted and resource not in _NATIVE:
        return 0, 0
    return snapshot.allocatable[node].get(resource, 0), snapshot.usage[node].requested.get(resource, 0) + wanted
