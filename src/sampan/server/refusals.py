"""Refusals: a Status in the form that the client reads, for what it did wrong, and for our own failures.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

import logging

from sampan.meta import status
from sampan.server import codec
from sampan.web.message import BodyBroken, BodyTooLarge, Request, Response

LOG = logging.getLogger(__name__)
MAX_BODY_BYTES = 3 * 1024 * 1024
PLAIN = "text/plain; charset=utf-8"


class NoPage(status.ApiError):
    """A 404 that comes as plain text: nothing here is the API's own."""

    def __init__(self) -> None:
        super().__init__(status.no_such_path().status)


def no_page() -> Response:
    """What is answered where there is nothing."""
    return Response(404, b"404 page not found\n", {"X-Content-Type-Options": "nosniff"}, PLAIN)


def refuse(error: status.ApiError, request: Request) -> Response:
    """A refusal as the client reads it."""
    if isinstance(error, NoPage):
        return no_page()
    if request.takes_trees:
        return Response(error.code, error.status, dict(error.headers))
    accept = request.headers.get("accept", "")
    form = codec.Form(codec.PROTOBUF) if accept.startswith(codec.PROTOBUF) else codec.Form()
    return Response(error.code, codec.encode(error.status, form), dict(error.headers), form.media)


def on_error(request: Request, error: BaseException) -> Response:
    """What a listener answers when a body is too large, or when we fail."""
    if isinstance(error, BodyTooLarge):
        return refuse(status.too_large(MAX_BODY_BYTES), request)
    if isinstance(error, BodyBroken):
        return refuse(status.bad_request("the request's body could not be read"), request)
    LOG.error("%s %s failed", request.method, request.path, exc_info=error)
    return refuse(status.internal("the server failed; its log has the story"), request)
