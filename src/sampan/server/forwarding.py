"""Passing a request on to somebody else's server, and its answer back: what proxies and aggregation share.

Credentials of the caller never leave: Authorization, the request headers of an authenticating proxy and
impersonation are dropped, as are hop-by-hop headers. A refused upgrade ends the client's connection.

https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
"""

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import replace

from sampan.meta import status
from sampan.server.outbound import Outbound, OutboundError, Target
from sampan.web.message import Request, Response

Headers = MutableMapping[str, str]

HOP_BY_HOP = frozenset(
    ("connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer")
) | {"transfer-encoding", "upgrade"}
_CREDENTIALS = ("authorization", "x-remote-user", "x-remote-uid", "x-remote-group")
_CREDENTIAL_PREFIXES = ("x-remote-extra-", "impersonate-")
_BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_UNPACKED = ("gzip", "deflate", "br", "zstd")  # what the listener has decoded already


def is_upgrade(request: Request) -> bool:
    """Whether the caller wants to speak something else from now on."""
    tokens = [token.strip().lower() for token in request.headers.get("connection", "").split(",")]
    return "upgrade" in tokens and bool(request.headers.get("upgrade"))


def request_headers(request: Request) -> dict[str, str]:
    """The headers to send on: without credentials and what concerns the caller's connection alone."""
    given = request.headers
    dropped = HOP_BY_HOP | {token.strip().lower() for token in given.get("connection", "").split(",")}
    headers = {
        name: value
        for name, value in given.items()
        if name not in dropped
        and name not in _CREDENTIALS
        and name != "content-length"
        and not name.startswith(_CREDENTIAL_PREFIXES)
    }
    if headers.get("content-encoding", "").lower() in _UNPACKED:
        del headers["content-encoding"]
    elif request.stream is not None and "content-length" in given:
        headers["content-length"] = given["content-length"]
    if "te" in given and "trailers" in given["te"].lower():
        headers["te"] = "trailers"
    if request.peer.address:
        before = given.get("x-forwarded-for")
        headers["x-forwarded-for"] = f"{before}, {request.peer.address}" if before else request.peer.address
    if is_upgrade(request):
        headers["connection"] = "Upgrade"
        headers["upgrade"] = given["upgrade"]
        _drop_bearer(headers)
    return headers


def sub_protocols(headers: Mapping[str, str]) -> list[str]:
    """What a WebSocket client offers to speak. One in a browser carries its token as another sub-protocol."""
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    return [name for name in offered if name and not name.startswith(_BEARER_PROTOCOL)]


def _drop_bearer(headers: dict[str, str]) -> None:
    kept = sub_protocols(headers)
    if kept:
        headers["sec-websocket-protocol"] = ", ".join(kept)
    else:
        headers.pop("sec-websocket-protocol", None)


async def forward(outbound: Outbound, target: Target, request: Request) -> Response:
    """The other's answer; 101 has a tunnel. `request` has its final path and headers.

    Raises ApiError: 503 when it can't be reached, 500 for an upgrade that came to nothing.
    """
    if not is_upgrade(request):
        try:
            return _returned(await outbound.open(target, request))
        except OutboundError as error:
            raise status.unavailable(f"error trying to reach service: {error}") from error
    try:
        answer = await outbound.open(target, request)
    except OutboundError as error:
        raise closing(status.failure(500, "", str(error))) from error
    if answer.status == 101:
        return answer
    if answer.status < 400:
        await discard(answer)
        raise closing(status.failure(500, "", f"invalid upgrade response: status code {answer.status}"))
    answer = _returned(answer)
    answer.headers["Connection"] = "close"
    return answer


def closing(error: status.ApiError) -> status.ApiError:
    """A refusal after which the client's connection is not used again."""
    error.headers["Connection"] = "close"
    return error


async def discard(answer: Response) -> None:
    """Lets go of an answer that nobody will read."""
    if answer.hijack is not None:
        await answer.hijack.close()
    close = getattr(answer.body, "aclose", None)
    if close is not None:
        await close()


def _returned(answer: Response) -> Response:
    drop(answer.headers, HOP_BY_HOP | _listed(answer.headers))
    return answer


def _listed(headers: Headers) -> set[str]:
    return {token.strip().lower() for token in headers.get("Connection", "").split(",") if token.strip()}


def drop(headers: Headers, names: Iterable[str]) -> None:
    """Removes headers whatever their case, however often they are there."""
    wanted = frozenset(name.lower() for name in names)
    for name in [name for name in headers if name.lower() in wanted]:
        while name in headers:
            del headers[name]


def with_path(request: Request, path: str, headers: dict[str, str]) -> Request:
    """The request as it is sent on."""
    return replace(request, path=path, raw_path="", headers=headers)
