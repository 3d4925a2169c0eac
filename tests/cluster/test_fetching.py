"""Fetching: what is asked for users stays away from this host, and from what only this process may do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.cluster.fetching import Fetching, ThroughApi
from sampan.control.plan import AskHttp, HttpAnswer
from sampan.server.outbound import ANSWER_BYTES, Target
from sampan.server.outbound_http import HttpOutbound
from sampan.web.message import Request, Response


class Way:
    """An outbound that remembers what was sent."""

    is_simulated = True

    def __init__(self) -> None:
        self.sent: list[tuple[Target, Request]] = []

    async def send(
        self, target: Target, request: Request, timeout_seconds: float, limit_bytes: int = ANSWER_BYTES
    ) -> Response:
        self.sent.append((target, request))
        return Response(200, b"direct")

    async def open(self, target: Target, request: Request) -> Response:
        raise NotImplementedError

    async def close(self) -> None: ...


class Api:
    """A transport to an API where every Service is there; its proxy answers with chunks."""

    def __init__(self, chunks: int = 1) -> None:
        self.chunks = chunks
        self.proxied: list[Request] = []
        self.is_closed = False

    async def request(self, request: Request) -> Response:
        if "/proxy" not in request.path:
            return Response(200, b'{"metadata": {"name": "shop"}}')
        self.proxied.append(request)
        return Response(200, self._body())

    async def close(self) -> None: ...

    async def _body(self) -> AsyncIterator[bytes | dict[str, Any]]:
        try:
            for _ in range(self.chunks):
                yield b"x" * 65536
        finally:
            self.is_closed = True


def _asked(url: str, **given: Any) -> AskHttp:
    return AskHttp("GET", url, is_users=True, namespace="default", **given)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://169.254.169.254/latest", "http://localhost:1/"]
)
def test_this_host_is_not_asked_for_users(url: str) -> None:
    """Neither within a cluster nor beside one."""

    async def ask() -> HttpAnswer | str:
        outbound = HttpOutbound()
        try:
            return await Fetching(outbound, None)(_asked(url))
        finally:
            await outbound.close()

    assert asyncio.run(ask()) == f'Get "{url}": address not allowed'


def test_this_host_is_asked_for_the_layer_itself() -> None:
    """What no user has named may be here."""
    way = Way()
    assert asyncio.run(Fetching(way, None)(AskHttp("GET", "http://127.0.0.1/"))) == HttpAnswer(200, "direct")
    assert way.sent[0][0].local


def test_nobody_becomes_somebody_else_at_the_api() -> None:
    """The proxied request has the caller's own headers only, and its path stays below the Service."""
    api = Api()
    way = Way()
    names = ("Authorization", "Impersonate-User", "X-Remote-Group", "Connection", "Host", "Cookie", "X-Mine")
    headers = tuple((name, "a") for name in names)
    fetch = ThroughApi(Client(api, "test"), Fetching(way, None))
    answer = asyncio.run(fetch(_asked("http://shop.default/a?watch=true&b=", headers=headers)))
    assert answer == HttpAnswer(200, "x" * 65536)
    (request,) = api.proxied
    assert request.path == "/api/v1/namespaces/default/services/shop:80/proxy/a"
    assert (dict(request.headers), request.query) == ({"x-mine": "a"}, (("watch", "true"), ("b", "")))
    assert asyncio.run(fetch(_asked("http://shop.example.org/", headers=headers))) == HttpAnswer(200, "direct")
    assert set(way.sent[0][1].headers) == {
        "authorization",
        "impersonate-user",
        "x-remote-group",
        "host",
        "cookie",
        "x-mine",
    }


@pytest.mark.parametrize(
    ("namespace", "opened", "is_users", "is_asked"),
    [
        ("default", (), True, True),
        ("monitoring", (), True, False),
        ("monitoring", ("logging",), True, False),
        ("monitoring", ("monitoring",), True, True),
        ("monitoring", ("*",), True, True),
        ("monitoring", (), False, True),
    ],
)
def test_users_reach_services_of_their_own_namespace(
    namespace: str, opened: tuple[str, ...], is_users: bool, is_asked: bool
) -> None:
    """And of those that were opened: the API is asked with rights that they may not have."""
    api, way, url = Api(), Way(), f"http://shop.{namespace}/"
    fetch = ThroughApi(Client(api, "test"), Fetching(way, None), opened)
    answer = asyncio.run(fetch(AskHttp("GET", url, is_users=is_users, namespace="default")))
    refused = f"Services of namespace {namespace} are not open to namespace default; who runs the layer opens them with"
    assert answer == (
        HttpAnswer(200, "x" * 65536) if is_asked else f'Get "{url}": {refused} --open-services {namespace}'
    )
    assert (len(api.proxied), way.sent) == (int(is_asked), [])


@pytest.mark.parametrize("path", ["../../../secrets", "%2e%2e/x", "a/..", "..%2fx", "..%5cx"])
def test_paths_stay_below_their_root(path: str) -> None:
    """Nothing is asked."""
    api, way = Api(), Way()
    url = f"http://shop.default/{path}"
    for fetch in (ThroughApi(Client(api, "test"), Fetching(way, None)), Fetching(way, None)):
        assert asyncio.run(fetch(_asked(url))) == f'parse "{url}": the path must not contain ..'
    assert not api.proxied
    assert not way.sent


def test_long_answers_are_refused() -> None:
    """They are not read to their end."""
    url = "http://shop.default/"
    fits = ANSWER_BYTES // 65536
    assert isinstance(
        asyncio.run(ThroughApi(Client(Api(fits), "test"), Fetching(Way(), None))(_asked(url))), HttpAnswer
    )
    api = Api(fits + 1)
    answer = asyncio.run(ThroughApi(Client(api, "test"), Fetching(Way(), None))(_asked(url)))
    assert answer == f'Get "{url}": the answer is longer than {ANSWER_BYTES} bytes'
    assert api.is_closed


@pytest.mark.parametrize(
    "url",
    ["http://[bad/x", "http://shop.default:99999/", "http://shop.default:x/", "ftp://x/", "http:///x", "", "shop"],
)
def test_what_is_no_url_is_answered_with_a_text(url: str) -> None:
    """Nothing raises, and nothing is asked."""
    api, way = Api(), Way()
    for fetch in (ThroughApi(Client(api, "test"), Fetching(way, None)), Fetching(way, None)):
        assert str(asyncio.run(fetch(_asked(url)))).startswith(f'parse "{url}": ')
    assert not api.proxied
    assert not way.sent


def test_a_header_of_two_lines_is_answered_with_a_text() -> None:
    """As any other failure."""

    class Strict(Api):
        async def request(self, request: Request) -> Response:
            if "x-mine" in request.headers:
                raise ValueError("Newline or carriage return detected in headers")
            return await super().request(request)

    asked = _asked("http://shop.default/", headers=(("X-Mine", "a\nb"),))
    answer = asyncio.run(ThroughApi(Client(Strict(), "test"), Fetching(Way(), None))(asked))
    assert answer == 'Get "http://shop.default/": Newline or carriage return detected in headers'
