"""Conditions: reading and setting an object's status.conditions.

A condition's lastTransitionTime changes only when its status does.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/condition/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.meta import timestamps

Condition = dict[str, Any]


def get(where: Mapping[str, Any], type: str) -> Condition | None:
    """The condition of that type in an object, or in a status."""
    status = where.get("status")
    holder = status if isinstance(status, dict) or isinstance(status, Mapping) else where  # noqa: SIM101 (quicker)
    return find(holder.get("conditions") or (), type)


def find(conditions: Sequence[Condition], type: str) -> Condition | None:
    """The condition of that type in a list of conditions."""
    for condition in conditions:  # asked very often: no generator
        if condition.get("type") == type:
            return condition
    return None


def status_of(where: Mapping[str, Any], type: str) -> str:
    """ "True", "False" or "Unknown"; "" when there is no such condition."""
    status = where.get("status")
    holder = status if isinstance(status, dict) or isinstance(status, Mapping) else where  # noqa: SIM101 (quicker)
    for condition in holder.get("conditions") or ():  # asked even more often than the two above, so not by them
        if condition.get("type") == type:
            return str(condition.get("status", ""))
    return ""


def is_true(where: Mapping[str, Any], type: str) -> bool:
    """Whether the condition is there and True."""
    status = where.get("status")
    holder = status if isinstance(status, dict) or isinstance(status, Mapping) else where  # noqa: SIM101 (quicker)
    for condition in holder.get("conditions") or ():  # asked most often of all, so not by status_of
        if condition.get("type") == type:
            return bool(condition.get("status") == "True")
    return False


def is_false(where: Mapping[str, Any], type: str) -> bool:
    """Whether the condition is there and False."""
    return status_of(where, type) == "False"


def set(
    conditions: Sequence[Condition] | None, type: str, status: str, reason: str, message: str, now: float
) -> list[Condition]:
    """A new list in which the condition says this; the others and the order stay.

    Fields of the old condition beyond these (observedGeneration, lastProbeTime ...) are kept.
    """
    old = find(conditions or (), type)
    new = make(type, status, reason, message, now)
    if old is not None:
        if old.get("status") == status and old.get("lastTransitionTime"):
            new["lastTransitionTime"] = old["lastTransitionTime"]
        new = {**{k: v for k, v in old.items() if k not in ("reason", "message")}, **new}
    if old is None:
        return [*(conditions or ()), new]
    return [new if c is old else c for c in conditions or ()]


def make(type: str, status: str, reason: str, message: str, now: float) -> Condition:
    """A fresh condition; empty reason and message are left out."""
    condition = {"type": type, "status": status, "lastTransitionTime": timestamps.format(now)}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def remove(conditions: Sequence[Condition] | None, type: str) -> list[Condition]:
    """A new list without the condition of that type."""
    return [c for c in conditions or () if c.get("type") != type]
