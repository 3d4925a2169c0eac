"""Admission on the node: what is bound here by name, past the scheduler, may still be more than there is.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.kinds.parts import pod_resources
from sampan.meta import quantity

Object = Mapping[str, Any]

_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")


def needs(pod: Object) -> dict[str, int]:
    """What a pod takes of the node: cpu in thousandths, the rest in whole units; and one place."""
    asked = pod_resources.requests(pod["spec"])
    return {"pods": 1, **{name: _units(name, amount) for name, amount in asked.items()}}


def refusal(
    wanted: Mapping[str, int], used: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]
) -> tuple[str, str] | None:
    """Reason and message when the node can't take it beside those that are there; else None.

    Extended resources that the node itself knows nothing of are the scheduler's business alone.
    """
    taken: dict[str, int] = {}
    for needed in used:
        for name, amount in needed.items():
            taken[name] = taken.get(name, 0) + amount
    for name in sorted(wanted, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        if "/" in name and name not in allocatable:
            continue
        capacity, before, more = _units(name, allocatable.get(name, "0")), taken.get(name, 0), wanted[name]
        if more and before + more > capacity:
            text = f"Node didn't have enough resource: {name}, requested: {more}, used: {before}, capacity: {capacity}"
            return f"OutOf{name}", text
    return None


def _units(name: str, amount: Any) -> int:
    return quantity.to_milli(amount) if name == "cpu" else quantity.to_int(amount)
