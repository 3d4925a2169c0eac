"""Fetching: what layers ask others than the API for, over HTTP.

Names of Services (NAME.NAMESPACE, with or without .svc and the cluster's domain) lead to a ready endpoint, everything
else to where it says: for users never to this host. Nothing that is asked raises; answers are bounded.

https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

import asyncio
import re
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control.plan import AskHttp, HttpAnswer
from sampan.kinds.core.service import SERVICE
from sampan.meta.status import ApiError
from sampan.server import service_target
from sampan.server.forwarding import HOP_BY_HOP
from sampan.server.outbound import ANSWER_BYTES, Outbound, OutboundError, Target
from sampan.server.service_target import Objects
from sampan.web.message import Request, Response

DOMAINS = (".svc.cluster.local", ".svc")
PORTS = {"http": 80, "https": 443}
_OF_THE_CONNECTION = HOP_BY_HOP | {"content-length", "expect"}
_OF_THE_CALLER = ("authorization", "cookie", "host")
_OF_THE_CALLER_PREFIXES = ("impersonate-", "x-remote-")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class Fetching:
    """`objects` are the cluster's own; None where its Services can't be reached."""

    def __init__(self, outbound: Outbound, objects: Objects | None) -> None:
        self._outbound = outbound
        self._objects = objects
        self._turn = 0

    async def __call__(self, asked: AskHttp) -> HttpAnswer | str:
        """The answer, whatever its code, or an error's text."""
        try:
            place = _place(asked)
        except ValueError as error:
            return f'parse "{asked.url}": {error}'
        try:
            request = Request(asked.method, place.path, (), _headers(asked), asked.body.encode())
            request.raw_query = place.query
            answer = await self._outbound.send(self._target(asked, place), request, asked.timeout_seconds)
            return HttpAnswer(answer.status, (await _whole(answer)).decode("utf-8", "replace"))
        except (OutboundError, ApiError, ValueError) as error:
            return _failed(asked, error)

    def _target(self, asked: AskHttp, place: "_Place") -> Target:
        found = Target(place.host, place.port, place.scheme, insecure=asked.insecure, local=not asked.is_users)
        namespace, name = _service(place.host)
        if self._objects is None or not name or self._objects.get(SERVICE, namespace, name) is None:
            return found
        end = service_target.resolve(self._objects, namespace, name, place.port, self._turn)
        self._turn += 1
        return Target(end.host, end.port, place.scheme, server_name=place.host, insecure=asked.insecure)


class ThroughApi:
    """For who is outside of the cluster: its Services are reached through the API's proxy, others directly.

    The API takes the caller for whom this process is; so what would make it somebody else is not sent, and a user reaches
    Services of the own namespace only, and of those in `open_namespaces` ("*": of all).
    """

    def __init__(self, client: Client, direct: Fetching, open_namespaces: Collection[str] = ()) -> None:
        self._client = client
        self._direct = direct
        self._open = open_namespaces

    async def __call__(self, asked: AskHttp) -> HttpAnswer | str:
        """The answer, whatever its code, or an error's text."""
        try:
            place = _place(asked)
        except ValueError as error:
            return f'parse "{asked.url}": {error}'
        namespace, name = _service(place.host)
        try:
            async with asyncio.timeout(asked.timeout_seconds):
                if name and await self._is_there(namespace, name):
                    if not self._is_open(namespace, asked):
                        text = f"Services of namespace {namespace} are not open to namespace {asked.namespace}"
                        return _failed(asked, f"{text}; who runs the layer opens them with --open-services {namespace}")
                    return await self._proxied(asked, place)
        except TimeoutError:
            return _failed(asked, "context deadline exceeded")
        except (OutboundError, TransportError, ValueError) as error:
            return _failed(asked, error)
        return await self._direct(asked)

    def _is_open(self, namespace: str, asked: AskHttp) -> bool:
        return not asked.is_users or namespace in (asked.namespace, *self._open) or "*" in self._open

    async def _proxied(self, asked: AskHttp, place: "_Place") -> HttpAnswer:
        namespace, name = _service(place.host)
        scheme = "https:" if place.scheme == "https" else ""
        path = f"{SERVICE.path(namespace)}/{scheme}{name}:{place.port}/proxy{place.path}"
        headers = {
            header: value
            for header, value in _headers(asked).items()
            if header not in _OF_THE_CALLER and not header.startswith(_OF_THE_CALLER_PREFIXES)
        }
        query = tuple(parse_qsl(place.query, keep_blank_values=True))
        request = Request(asked.method, path, query, headers, asked.body.encode(), wants_stream=True)
        answer = await self._client.transport.request(request)
        return HttpAnswer(answer.status, (await _whole(answer)).decode("utf-8", "replace"))

    async def _is_there(self, namespace: str, name: str) -> bool:
        try:
            await self._client.get(SERVICE, name, namespace)
        except (ApiError, TransportError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Place:
    """What a URL names; `path` is decoded and stays below its root."""

    scheme: str
    host: str
    port: int
    path: str
    query: str


def _place(asked: AskHttp) -> _Place:
    """Raises ValueError for what can't be asked."""
    url = urlsplit(asked.url)
    port = url.port or PORTS.get(url.scheme, 0)
    if url.scheme not in PORTS:
        raise ValueError(f'unsupported protocol scheme "{url.scheme}"')
    if not url.hostname:
        raise ValueError("no Host in request URL")
    path = unquote(url.path) or "/"
    if ".." in re.split(r"[/\\]", path):
        raise ValueError("the path must not contain ..")
    return _Place(url.scheme, url.hostname, port, path, url.query)


def _headers(asked: AskHttp) -> dict[str, str]:
    """What is said to whoever answers, and not about the connection."""
    return {name.lower(): value for name, value in asked.headers if name.lower() not in _OF_THE_CONNECTION}


async def _whole(answer: Response) -> bytes:
    """The body. Raises OutboundError when it is too long."""
    if isinstance(answer.body, bytes):
        return answer.body
    if isinstance(answer.body, dict):
        return orjson.dumps(answer.body)
    try:
        return await _gathered(answer.body)
    finally:
        close = getattr(answer.body, "aclose", None)
        if close is not None:
            await close()


async def _gathered(chunks: AsyncIterator[bytes | dict[str, object]]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk if isinstance(chunk, bytes) else orjson.dumps(chunk)
        if len(body) > ANSWER_BYTES:
            raise OutboundError(f"the answer is longer than {ANSWER_BYTES} bytes")
    return bytes(body)


def _failed(asked: AskHttp, error: object) -> str:
    return f'{asked.method.title()} "{asked.url}": {error}'


def _service(host: str) -> tuple[str, str]:
    """(namespace, name) of the Service that a host may be; empty for none."""
    short = next((host.removesuffix(domain) for domain in DOMAINS if host.endswith(domain)), host)
    name, _, namespace = short.partition(".")
    return (namespace, name) if _LABEL.fullmatch(name) and _LABEL.fullmatch(namespace) else ("", "")
