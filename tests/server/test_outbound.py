"""The way out: real servers on this host's own loopback, where a target may be local."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sampan.kit.clock import SystemClock
from sampan.server.outbound import OutboundError, Target, is_proxyable
from sampan.server.outbound_http import HttpOutbound
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.listener import server_context
from sampan.web.message import Request, Response
from sampan.web.tunnel import Tunnel
from tests.server.backend import own_address

Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
SECONDS = 60.0


@pytest.fixture
async def outbound() -> AsyncIterator[HttpOutbound]:
    made = HttpOutbound()
    yield made
    await made.close()


class Backend:
    """A server that keeps what it was asked, and where to find it."""

    def __init__(self, serve: Serve) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self._serve = serve
        self._server = web.Server(self._handle)
        self.port = 0

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {k.lower(): v for k, v in request.headers.items()}
        self.asked.append((request.method, request.raw_path, headers, await request.read()))
        return await self._serve(request)

    async def start(self, tls: object = None) -> "Backend":
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._server, "127.0.0.1", 0, ssl=tls)  # type: ignore[arg-type]
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        self._listening.close()
        await self._server.shutdown(0.1)


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


async def redirect(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/secret"})


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(1000):
        await answer.write(b"x" * 65536)
    return answer


def local(port: int) -> Target:
    return Target("127.0.0.1", port, "http", local=True)


async def test_request_as_given(outbound: HttpOutbound) -> None:
    """Method, path, query, headers and body arrive as they were given, and nothing is added but Host and length."""
    backend = await Backend(hello).start()
    headers = {"host": "example.com", "x-test": "1", "content-type": "text/plain"}
    request = Request("POST", "/a b/c?d", (("x", "1 2"), ("x", "&")), headers, b"body")
    answer = await outbound.send(local(backend.port), request, SECONDS)
    assert (answer.status, answer.body) == (200, b"hello")
    expected = {**headers, "content-length": "4"}
    assert backend.asked == [("POST", "/a%20b/c%3Fd?x=1+2&x=%26", expected, b"body")]
    await backend.close()


async def test_redirect_not_followed(outbound: HttpOutbound) -> None:
    """A redirect is an answer like any other."""
    backend = await Backend(redirect).start()
    answer = await outbound.send(local(backend.port), Request("GET", "/"), SECONDS)
    assert (answer.status, answer.headers["Location"]) == (302, "http://127.0.0.1:1/secret")
    await backend.close()


async def test_answer_is_bounded(outbound: HttpOutbound) -> None:
    """An endless answer ends with an error, not with all memory."""
    backend = await Backend(endless).start()
    with pytest.raises(OutboundError, match="longer than 100000 bytes"):
        await outbound.send(local(backend.port), Request("GET", "/"), SECONDS, 100_000)
    await backend.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"])
async def test_local_refused(outbound: HttpOutbound, host: str) -> None:
    """B9: loopback and link-local are not called for others, by whatever name."""
    with pytest.raises(OutboundError, match="address not allowed"):
        await outbound.send(Target(host, 80, "http"), Request("GET", "/"), SECONDS)


async def test_a_name_that_is_bound_anew(outbound: HttpOutbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """B9: a name is resolved once; whatever it means then, the address that was checked is the one that is dialled."""
    backend = await Backend(hello).start()
    outside = own_address()
    asked: list[str] = []

    async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        found = ["127.0.0.1", outside, "::ffff:127.0.0.1"] if len(asked) == 1 else ["127.0.0.1"]
        return [(2, 1, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(OutboundError, match=rf"^dial tcp {outside}:{backend.port}: connect: connection refused$"):
        await outbound.send(Target("evil.example", backend.port, "http"), Request("GET", "/"), SECONDS)
    assert asked == ["evil.example"]
    with pytest.raises(OutboundError, match="address not allowed"):
        await outbound.send(Target("evil.example", backend.port, "http"), Request("GET", "/"), SECONDS)
    assert backend.asked == []
    await backend.close()


async def test_own_api_refused() -> None:
    """B9: nobody makes the server call itself."""
    outbound = HttpOutbound([("127.0.0.1", 6443)])
    with pytest.raises(OutboundError, match="address not allowed"):
        await outbound.send(local(6443), Request("GET", "/"), SECONDS)
    await outbound.close()


async def test_refused_connection_worded(outbound: HttpOutbound) -> None:
    """Clients read why as the reference server says it."""
    backend = await Backend(hello).start()
    await backend.close()
    with pytest.raises(OutboundError, match=rf"^dial tcp 127.0.0.1:{backend.port}: connect: connection refused$"):
        await outbound.send(local(backend.port), Request("GET", "/"), SECONDS)


async def test_timeout(outbound: HttpOutbound) -> None:
    """A backend that never answers is given up."""

    async def never(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    backend = await Backend(never).start()
    with pytest.raises(OutboundError, match="context deadline exceeded") as caught:
        await outbound.send(local(backend.port), Request("GET", "/"), 0.05)
    assert caught.value.timed_out
    await backend.close()


async def test_tls_checked(outbound: HttpOutbound, tmp_path: Path) -> None:
    """The certificate must be of the given authority and bear the given name."""
    now = SystemClock().now()
    authority = certificates.new_authority("test-ca", now)
    authority.save(tmp_path, "ca")
    certificates.issue(authority, Subject("x", hosts=("x.default.svc",)), now).save(tmp_path, "server")
    context = server_context(*(str(tmp_path / name) for name in ("server.crt", "server.key", "ca.crt")))
    backend = await Backend(hello).start(context)
    ca = (tmp_path / "ca.crt").read_bytes()
    good = Target("127.0.0.1", backend.port, server_name="x.default.svc", ca=ca, local=True)
    assert (await outbound.send(good, Request("GET", "/"), SECONDS)).body == b"hello"
    assert backend.asked[0][2]["host"] == f"x.default.svc:{backend.port}"
    wrong = Target("127.0.0.1", backend.port, server_name="y.default.svc", ca=ca, local=True)
    with pytest.raises(OutboundError, match=r"is not valid for y\.default\.svc"):
        await outbound.send(wrong, Request("GET", "/"), SECONDS)
    with pytest.raises(OutboundError, match="certificate signed by unknown authority"):
        await outbound.send(Target("127.0.0.1", backend.port, local=True), Request("GET", "/"), SECONDS)
    await outbound.send(Target("127.0.0.1", backend.port, insecure=True, local=True), Request("GET", "/"), SECONDS)
    await backend.close()


async def test_stream_and_upgrade(outbound: HttpOutbound) -> None:
    """A long answer is read as it comes; a 101 gives a tunnel to join."""

    async def upgrade(request: web.BaseRequest) -> web.StreamResponse:
        sockets = web.WebSocketResponse()
        await sockets.prepare(request)
        return sockets

    backend = await Backend(endless).start()
    answer = await outbound.open(local(backend.port), Request("GET", "/"))
    assert isinstance(answer, Response)
    chunks = 0
    async for chunk in answer.body:  # type: ignore[union-attr]
        chunks += len(chunk)
    assert chunks == 65_536_000
    await backend.close()
    backend = await Backend(upgrade).start()
    headers = {
        "upgrade": "websocket", "connection": "upgrade",
        "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    answer = await outbound.open(local(backend.port), Request("GET", "/", headers=headers))
    assert answer.status == 101
    assert isinstance(answer.hijack, Tunnel)
    await answer.hijack.close()
    await backend.close()


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "192.0.2.2"])
def test_proxyable(address: str) -> None:
    """Addresses of pods and nodes may be called."""
    assert is_proxyable(address)
