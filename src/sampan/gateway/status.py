"""Status: the conditions of the Gateway API, and how what several controllers write is kept apart."""

from collections.abc import Iterable, Sequence

from sampan.gateway.listeners import Fault
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects

Condition = Object


def condition(
    old: Sequence[Condition] | None, type: str, verdict: tuple[bool, str, str], generation: int, now: float
) -> Condition:
    """(is it so, reason, message) as a condition; its time stays where its status does."""
    is_so, reason, message = verdict
    made = conditions.make(type, "True" if is_so else "False", reason, message, now)
    made |= {"message": message, "observedGeneration": generation}
    before = conditions.find(old or (), type)
    if before is not None and before.get("status") == made["status"] and before.get("lastTransitionTime"):
        made["lastTransitionTime"] = before["lastTransitionTime"]
    return made


def verdict(fault: Fault | None, reason: str, message: str) -> tuple[bool, str, str]:
    """So, for this reason; or not so, as the fault says."""
    return (True, reason, message) if fault is None else (False, fault.reason, fault.message)


def listed(
    obj: Object, old: Sequence[Condition] | None, verdicts: Iterable[tuple[str, tuple[bool, str, str]]], now: float
) -> list[Condition]:
    """The conditions of these types, then those of other types that were there."""
    made = [condition(old, type_, found, objects.generation(obj), now) for type_, found in verdicts]
    ours = {each["type"] for each in made} | _OURS
    return [*made, *(each for each in old or () if each.get("type") not in ours)]


_OURS = {"Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid", "SupportedVersion"}
