"""Amounts: how much of a device's capacities a request takes, as their request policies round it up. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#consumable-capacity
"""

from collections.abc import Mapping
from typing import Any

from sampan.meta import quantity
from sampan.meta.quantity import Quantity

Tree = Mapping[str, Any]


def consumed(requests: Mapping[str, Quantity], capacity: Mapping[str, Tree]) -> dict[str, Quantity] | None:
    """What is taken of each capacity; None when the device has not got what is requested, or does not give it so."""
    if any(name not in capacity for name in requests):
        return None
    found: dict[str, Quantity] = {}
    for name, described in capacity.items():
        taken = _one(requests.get(name), described)
        if taken is None:
            return None
        found[name] = taken
    return found


def value(described: Tree) -> int:
    """How much of a capacity there is, in nanos."""
    return quantity.parse(described.get("value") or "0").nanos


def _one(wanted: Quantity | None, described: Tree) -> Quantity | None:
    policy = described.get("requestPolicy") or {}
    most = quantity.parse(described.get("value") or "0")
    usual = quantity.parse(policy["default"]) if policy.get("default") is not None else None
    taken: Quantity | None = wanted
    if wanted is None:
        taken = usual if usual is not None else most
    elif policy.get("validRange") is not None:
        taken = _in_range(wanted, policy["validRange"])
    elif policy.get("validValues"):
        taken = next((v for v in map(quantity.parse, policy["validValues"]) if v.nanos >= wanted.nanos), None)
    return taken if taken is not None and taken.nanos <= most.nanos else None


def _in_range(wanted: Quantity, span: Tree) -> Quantity | None:
    """The least that is not less, in steps from the minimum."""
    least = quantity.parse(span.get("min") or "0")
    taken = least if wanted.nanos < least.nanos else wanted
    if span.get("step") is not None:
        step = quantity.parse(span["step"]).nanos
        steps = -(-(taken.nanos - least.nanos) // step)
        taken = Quantity(least.nanos + steps * step, least.style)
    top = quantity.parse(span["max"]) if span.get("max") is not None else None
    return None if top is not None and taken.nanos > top.nanos else taken
