"""Whether a watch goes over a WebSocket, as fabric8's client and browsers ask for it; each event is a message then.

As upstream, who does not say of which origin it is gets no WebSocket.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
"""

import base64
import binascii
from urllib.parse import urlsplit

from sampan.meta import status
from sampan.server import forwarding
from sampan.web.message import Request
from sampan.web.messages import Messages

VERSION = "13"
KEY_BYTES = 16


def wanted(request: Request, *, are_lines: bool) -> Messages | None:
    """How it goes there; None where it is an answer like others. Raises ApiError 400, and 403 for one of no origin."""
    headers = request.headers
    if not forwarding.is_upgrade(request) or headers["upgrade"].lower() != "websocket":
        return None
    if headers.get("sec-websocket-version") != VERSION:
        raise status.bad_request("missing or bad WebSocket Version")
    if not _is_key(headers.get("sec-websocket-key", "")):
        raise status.bad_request("mismatch challenge/response")
    _check_origin(headers.get("origin", ""))
    return Messages(tuple(forwarding.sub_protocols(request.headers)), are_lines)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _check_origin(origin: str) -> None:
    if origin == "null":
        raise status.failure(403, "Forbidden", "null origin")
    if not _is_place(origin):
        text = "invalid URI for request" if origin else "empty url"
        raise status.failure(403, "Forbidden", f'parse "{origin}": {text}')


def _is_place(origin: str) -> bool:
    try:
        return origin.startswith("/") or bool(urlsplit(origin).scheme)
    except ValueError:
        return False
