"""What a ResourceClaim takes from a quota: devices of each class, as many as it may get at most.

https://kubernetes.io/docs/concepts/policy/resource-quotas/#resource-quota-for-resourceclaims
"""

from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import objects, quantity
from sampan.meta.quantity import Quantity

RESOURCE = "resourceclaims.resource.k8s.io"
SUFFIX = ".deviceclass.resource.k8s.io/devices"
MOST = 32
"""A claim never has more devices than these: as many are counted where it wants all that there are."""


def amounts(claim: Object) -> dict[str, Quantity]:
    """Name of a class, with the suffix -> how many devices."""
    found: dict[str, int] = {}
    for request in objects.get_path(claim, "spec.devices.requests") or ():
        most: dict[str, int] = {}
        for wish in request.get("firstAvailable") or [request.get("exactly") or {}]:
            name = f"{wish.get('deviceClassName', '')}{SUFFIX}"
            most[name] = max(most.get(name, 0), _count(wish))
        for name, count in most.items():
            found[name] = found.get(name, 0) + count
    return {name: quantity.of_int(count) for name, count in found.items() if name != SUFFIX}


def _count(wish: dict[str, Any]) -> int:
    match wish.get("allocationMode", "ExactCount"):
        case "ExactCount":
            return int(wish.get("count") or 0)
        case "All":
            return MOST
    return 0
