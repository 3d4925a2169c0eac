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
    short = _short(wanted, used, allocatable)
    if short is None:
        return None
    name, before, capacity = short
    return f"OutOf{name}", f"{_LACKS}: {name}, requested: {wanted[name]}, used: {before}, capacity: {capacity}"


def unfit(
    wanted: Mapping[str, int], used: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]
) -> tuple[str, str] | None:
    """Reason and message when a pod that is here can't be made so large: never (Infeasible), or not now (Deferred)."""
    if short := _short(wanted, (), allocatable):
        name, _, capacity = short
        text = f"Node didn't have enough capacity: {name}, requested: {wanted[name]}, capacity: {capacity}"
        return "Infeasible", text
    if short := _short(wanted, used, allocatable):
        name, before, capacity = short
        return "Deferred", f"{_LACKS}: {name}, requested: {wanted[name]}, used: {before}, capacity: {capacity}"
    return None


_LACKS = "Node didn't have enough resource"


def _short(
    wanted: Mapping[str, int], used: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]
) -> tuple[str, int, int] | None:
    """The first resource that there is too little of, what the others take of it, and all there is."""
    taken: dict[str, int] = {}
    for needed in used:
        for name, amount in needed.items():
            taken[name] = taken.get(name, 0) + amount
    for name in sorted(wanted, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        if "/" in name and name not in allocatable:
            continue
        capacity, before, more = _units(name, allocatable.get(name, "0")), taken.get(name, 0), wanted[name]
        if more and before + more > capacity:
            return name, before, capacity
    return None


def _units(name: str, amount: Any) -> int:
    return quantity.to_milli(amount) if name == "cpu" else quantity.to_int(amount)
