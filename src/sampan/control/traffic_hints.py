"""Traffic hints: for which zones or nodes an endpoint is meant, as spec.trafficDistribution asks.

https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution
"""

from collections.abc import Callable

from sampan.control.endpoint_slices import Slices
from sampan.kinds.kind import Object
from sampan.meta import objects

SAME_NODE = "PreferSameNode"
CLOSE = ("PreferClose", "PreferSameZone", SAME_NODE)
_MODES = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")


def is_by_topology(service: Object) -> bool:
    """Whether an annotation asks for zones in proportion to their CPUs; the older one has the last word."""
    annotations = objects.annotations(service)
    mode = next((annotations[name] for name in _MODES if name in annotations), "")
    return mode in ("Auto", "auto")


def distribute(service: Object, slices: Slices) -> None:
    """Puts on the hints that the field asks for; without it, takes off those that there are."""
    wanted = service["spec"].get("trafficDistribution")
    if wanted in CLOSE:
        close = _close(with_nodes=wanted == SAME_NODE)
        slices.map(close, lambda e: close(e) != e)
    else:
        remove(slices)


def remove(slices: Slices) -> None:
    """Takes off all hints."""
    slices.map(without, lambda e: "hints" in e)


def without(endpoint: Object) -> Object:
    """The endpoint without hints."""
    return {name: value for name, value in endpoint.items() if name != "hints"}


def is_ready(endpoint: Object) -> bool:
    """Whether it is known to be ready."""
    return (endpoint.get("conditions") or {}).get("ready") is True


def _close(*, with_nodes: bool) -> Callable[[Object], Object]:
    """Each ready endpoint is meant for its own zone, and for its own node."""

    def close(endpoint: Object) -> Object:
        if not is_ready(endpoint):
            return endpoint
        hints = {"forZones": [{"name": endpoint["zone"]}]} if endpoint.get("zone") else {}
        if with_nodes and endpoint.get("nodeName"):
            hints["forNodes"] = [{"name": endpoint["nodeName"]}]
        return {**endpoint, "hints": hints} if hints else without(endpoint)

    return close
