"""A review sent to a webhook, and its answer: for admission webhooks and conversion webhooks alike.

One POST of JSON over TLS, without credentials; no redirect is followed, the answer is bounded, and the
time is what the configuration allows. What goes wrong is told in the reference server's words.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#contacting-the-webhook
"""

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

import orjson

from sampan.meta import status
from sampan.server import outbound as way_out
from sampan.server import service_target
from sampan.server.outbound import Outbound, OutboundError, Target
from sampan.web.message import Request, Response

HEADERS = {"content-type": "application/json", "accept": "application/json, */*", "user-agent": "sampan"}

Tree = dict[str, Any]

_TEXTS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    403: "the server does not allow access to the requested resource",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    415: "the server was unable to respond with a content type that the client supports",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class CallError(Exception):
    """The webhook gave no usable answer; the text says why. `timed_out` when it took too long."""

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.timed_out = timed_out


class ReviewCall:
    """Calls webhooks by their clientConfig. `outbound` is None in a cluster without a network."""

    def __init__(self, outbound: Outbound | None) -> None:
        self._outbound = outbound
        self._turn = 0

    async def post(self, config: Tree, body: Tree, lookup: service_target.Objects, timeout_seconds: float) -> Tree:
        """The answer, a JSON object. Raises CallError."""
        url = address(config)
        shown = f"{url}?timeout={timeout_seconds:g}s"
        try:
            outbound = way_out.needed(self._outbound, "calling a webhook")
            target = self._target(config, service_target.Whole(lookup) if outbound.is_simulated else lookup)
        except status.ApiError as error:
            raise CallError(_unresolved(error, config, shown)) from error
        path = urlsplit(url).path or "/"
        request = Request("POST", path, (("timeout", f"{timeout_seconds:g}s"),), HEADERS, orjson.dumps(body))
        try:
            answer = await outbound.send(target, request, timeout_seconds)
        except OutboundError as error:
            raise CallError(f'Post "{shown}": {error}', timed_out=error.timed_out) from error
        return _tree(answer)

    def _target(self, config: Tree, lookup: service_target.Objects) -> Target:
        authorities = _authorities(config.get("caBundle"))
        service = config.get("service")
        if service is None:
            parts = urlsplit(config["url"])
            return Target(parts.hostname or "", parts.port or 443, ca=authorities, local=True)
        self._turn += 1
        port = service.get("port") or 443
        place = service_target.resolve(lookup, service["namespace"], service["name"], port, self._turn)
        return Target(place.host, place.port, server_name=place.server_name, ca=authorities)


def address(config: Tree) -> str:
    """The URL that a client config means, as messages show it."""
    service = config.get("service")
    if service is None:
        return str(config.get("url") or "")
    path = str(service.get("path") or "")
    return f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}{path}"


def _authorities(bundle: str | None) -> bytes | None:
    """PEM, None for the system's own."""
    if not bundle:
        return None
    try:
        return base64.b64decode(bundle)
    except (binascii.Error, ValueError) as error:
        raise status.internal(f"unable to load root certificates: {error}") from error


def _unresolved(error: status.ApiError, config: Tree, shown: str) -> str:
    service = config.get("service")
    if service is None:
        return str(error)
    why = f'service "{service["name"]}" not found' if error.reason == "NotFound" else str(error)
    return f'Post "{shown}": {why}'


def _tree(answer: Response) -> Tree:
    body = answer.body if isinstance(answer.body, bytes) else b""
    if not 200 <= answer.status <= 206:
        raise CallError(_refusal(answer.status, body))
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallError(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(tree, dict):
        raise CallError("couldn't get version/kind; json parse error: the answer is not an object")
    return tree


def _refusal(code: int, body: bytes) -> str:
    """What an answer other than success says: a Status tells it itself."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        tree = None
    if isinstance(tree, dict) and tree.get("kind") == "Status" and tree.get("status") != "Success":
        return str(tree.get("message") or "unknown")
    if code in _TEXTS:
        return _TEXTS[code]
    if code >= 500:
        said = body.decode(errors="replace").strip()[:2048] or "unknown"
        return f"an error on the server ({status.show(said)}) has prevented the request from succeeding"
    return f"the server responded with the status code {code} but did not return more information"
