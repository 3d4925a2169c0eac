"""What `kubectl get podmetrics` shows of figures: their sum."""

from collections.abc import Iterable

from sampan.kinds.kind import Object
from sampan.meta import quantity


def total(holders: Iterable[Object], resource: str) -> str:
    """The sum of what all of them use of a resource."""
    return str(sum((quantity.parse(h["usage"].get(resource) or "0") for h in holders), quantity.ZERO))
