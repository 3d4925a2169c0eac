"""Whether a watch goes over a WebSocket, as fabric8's client and browsers ask for it; each event is a message then.

As upstream, who does not say of which origin it is gets no WebSocket.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from urllib.parse import urlsplit

from sampan.meta import status
from sampan.server import forwarding
from sampan.web.message import Request
from sampan.web.messages import Messages


def wanted(request: Request, *, are_lines: bool) -> Messages | None:
    """How it goes there; None where it is an answer like others. Raises ApiError 403 for one of no origin."""
    if not forwarding.is_upgrade(request) or request.headers["upgrade"].lower() != "websocket":
        return None
    _check_origin(request.headers.get("origin", ""))
    return Messages(tuple(forwarding.sub_protocols(request.headers)), are_lines)


def _check_origin(origin: str) -> None:
    if origin == "null":
        raise status.failure(403, "Forbidden", "null origin")
    if not (origin.startswith("/") or urlsplit(origin).scheme):
        text = "invalid URI for request" if origin else "empty url"
        raise status.failure(403, "Forbidden", f'parse "{origin}": {text}')
