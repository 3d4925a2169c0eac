"""Doors that upstream has and this version does not: refused by name, so that nobody waits or wonders."""

from sampan.kinds.kind import Kind
from sampan.meta import status
from sampan.server.request_info import RequestInfo

_LATER = {
    ("", "pods", "portforward"): "port-forward",
}


def refusal(info: RequestInfo, kind: Kind) -> status.ApiError:
    """What a request on a subresource that nobody serves is told."""
    feature = _LATER.get((info.group, info.resource, info.subresource))
    if kind.custom:
        return status.not_found(kind.group, kind.plural, info.name)
    if feature is None:
        return status.no_such_path()
    text = f"{feature} is not available yet in this version of Sampan"
    return status.failure(405, "MethodNotAllowed", text, {"name": info.name, "kind": info.resource})
