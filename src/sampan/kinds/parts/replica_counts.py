"""The counts in a workload's status: not negative, none greater than all there are, none taken back."""

from collections.abc import Iterable

from sampan.kinds.kind import Object
from sampan.kinds.parts import numbers
from sampan.meta.status import Cause, invalid_value

READY, AVAILABLE = "readyReplicas", "availableReplicas"


def ready_text(obj: Object, now: float) -> str:
    """Ready replicas of those wanted: 2/3."""
    return f"{(obj.get('status') or {}).get(READY) or 0}/{(obj.get('spec') or {}).get('replicas') or 0}"


def status_causes(
    new: Object, old: Object | None, counts: Iterable[str], among_ready: str = "readyReplicas"
) -> list[Cause]:
    """`counts` are those that are at most status.replicas. `among_ready` names the ready ones in the message."""
    status = new.get("status") or {}
    names = tuple(counts)
    found = numbers.negative_causes(status, "status", "replicas", *names, "observedGeneration", "collisionCount")
    total = status.get("replicas") or 0
    for name in names:
        count = status.get(name) or 0
        if count > total:
            found.append(invalid_value(f"status.{name}", count, "cannot be greater than status.replicas"))
    available = status.get(AVAILABLE) or 0
    if available > (status.get(READY) or 0):
        found.append(invalid_value(f"status.{AVAILABLE}", available, f"cannot be greater than {among_ready}"))
    before = ((old or {}).get("status") or {}).get("collisionCount")
    if before is not None and (status.get("collisionCount") is None or status["collisionCount"] < before):
        found.append(invalid_value("status.collisionCount", status.get("collisionCount"), "cannot be decremented"))
    return found
