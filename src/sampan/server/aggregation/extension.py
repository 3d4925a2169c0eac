"""An extension API server: where it is, how we show ourselves to it, and on whose behalf we ask.

It knows us by the front proxy's client certificate, and believes the identity in the X-Remote headers.

https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

import base64
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

from multidict import CIMultiDict

from sampan.meta import status
from sampan.server import forwarding, service_target
from sampan.server.aggregation import priorities
from sampan.server.identity import MASTERS_GROUP, User
from sampan.server.outbound import Outbound, OutboundError, Target
from sampan.server.service_target import Objects
from sampan.web.message import Request, Response

Tree = dict[str, Any]

AGGREGATOR = User("system:kube-aggregator", groups=(MASTERS_GROUP,))
REDIRECTED = b"the backend attempted to redirect this request, which is not permitted"
_EXTRA_SAFE = "!#$&'*+^`|"


@dataclass(frozen=True, slots=True)
class Identity:
    """The front proxy: its authority and the cluster's (PEM), the names it may have, our certificate's files."""

    authority: bytes
    client_authority: bytes
    names: tuple[str, ...]
    certificate: str
    key: str


class Extensions:
    """The way to all extension servers."""

    def __init__(self, lookup: Objects, outbound: Outbound | None, identity: Identity | None) -> None:
        self._objects = lookup
        self._outbound = outbound
        self._identity = identity
        self._turns = itertools.count()

    def target(self, service: Tree, *, check_certificate: bool = True) -> Target:
        """Where the APIService's server answers now. Raises ApiError when nobody does."""
        spec = service["spec"]
        where = spec["service"]
        place = service_target.resolve(
            self._objects, where["namespace"], where["name"], where.get("port", 443), next(self._turns)
        )
        identity = self._identity
        try:
            bundle = base64.b64decode(spec.get("caBundle") or "", validate=True)
        except ValueError as error:
            raise status.internal("the caBundle is not base64") from error
        return Target(
            place.host,
            place.port,
            server_name=place.server_name,
            ca=bundle or None,
            insecure=bool(spec.get("insecureSkipTLSVerify")) or not check_certificate,
            certificate=identity.certificate if identity else "",
            key=identity.key if identity else "",
        )

    async def proxy(self, service: Tree, request: Request, user: User) -> Response:
        """The extension server's answer to a caller's request, or what upstream says in its place."""
        try:
            target = self.target(service)
        except status.ApiError:
            return plain(503, "service unavailable")
        if self._outbound is None:
            return plain(503, "service unavailable: a simulated cluster has no network to reach it by")
        headers = CIMultiDict(forwarding.request_headers(request))
        headers.popall("host", None)
        headers["x-forwarded-uri"] = request.raw_path or request.path
        _identify(headers, user)
        try:
            answer = await forwarding.forward(self._outbound, target, replace(request, headers=headers, raw_path=""))
        except status.ApiError as error:
            refused = plain(503, error.message)
            refused.headers.update(error.headers)
            return refused
        if 300 <= answer.status < 400 and answer.headers.get("Location"):
            await forwarding.discard(answer)
            return Response(502, REDIRECTED, {}, "text/plain; charset=utf-8")
        return answer

    async def ask(self, service: Tree, path: str, headers: Mapping[str, str], seconds: float) -> Response:
        """A document of the server's own, asked for by us. Raises ApiError, OutboundError."""
        return await self._get(self.target(service), path, headers, seconds)

    async def check(self, service: Tree, seconds: float) -> str:
        """Why the server does not serve its group and version, "" when it does."""
        group, version = priorities.service_key(service)
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            target = self.target(service, check_certificate=False)
        except status.ApiError as error:
            return error.message
        url = f"https://{target.address}{path}"
        try:
            answer = await self._get(target, path, {}, seconds)
        except OutboundError as error:
            return f'failing or missing response from {url}: Get "{url}": {error}'
        if not 200 <= answer.status < 300:
            return f"failing or missing response from {url}: bad status from {url}: {answer.status}"
        return ""

    async def _get(self, target: Target, path: str, headers: Mapping[str, str], seconds: float) -> Response:
        if self._outbound is None:
            raise OutboundError("a simulated cluster has no network to reach it by")
        asked = CIMultiDict(headers)
        _identify(asked, AGGREGATOR)
        return await self._outbound.send(target, Request("GET", path, headers=asked), seconds, DOCUMENT_BYTES)


DOCUMENT_BYTES = 32 * 1024 * 1024


def is_decodable(request: Request) -> bool:
    """Whether the path means the same to us and to the next server: no encoded slash, percent or NUL in it."""
    return "%" not in request.path and "\0" not in request.path and unquote(request.path) == request.path


def plain(code: int, text: str) -> Response:
    """A refusal as the aggregator words it: not a Status, but text."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(code, f"{text}\n".encode(), headers, "text/plain; charset=utf-8")


def _identify(headers: CIMultiDict[str], user: User) -> None:
    """Says who asks. What the caller may have sent under these names was dropped before."""
    headers["X-Remote-User"] = user.name
    if user.uid:
        headers["X-Remote-Uid"] = user.uid
    for group in user.groups:
        headers.add("X-Remote-Group", group)
    for key, values in user.extra.items():
        for value in values:
            headers.add(f"X-Remote-Extra-{quote(key.lower(), safe=_EXTRA_SAFE)}", value)
