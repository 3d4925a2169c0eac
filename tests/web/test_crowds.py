"""More connections than there is room for: those in use go on, idle ones make room, and nobody has to be told to try less."""

import asyncio
import contextlib
import logging
import resource
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.web import accepting, answer, certificates, listener
from sampan.web.certificates import Subject
from sampan.web.listener import Address, Listener, client_context, server_context
from sampan.web.message import Pieces, Request, Response

GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Server:
    """`go_on` is what /slow waits for."""

    listener: Listener
    port: int
    tls: ssl.SSLContext | None
    go_on: asyncio.Event
    asked: int = 0

    async def connect(self) -> Ends:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)

    async def handle(self, request: Request) -> Response:
        self.asked += 1
        if request.path == "/slow":
            await self.go_on.wait()
        if request.path == "/long":
            return Response(200, Pieces([b"x" * 1000] * 40_000))
        if request.path == "/whole":
            return Response(200, b"x" * 40_000_000)
        return Response(200, b"here")


@pytest.fixture(params=["plain", "tls"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    tls = None
    if request.param == "tls":
        now = SystemClock().now()
        authority = certificates.new_authority("ca", now)
        authority.save(tmp_path, "ca")
        certificates.issue(authority, Subject("s", hosts=("127.0.0.1",)), now).save(tmp_path, "s")
        tls = server_context(*(str(tmp_path / name) for name in ("s.crt", "s.key", "ca.crt")))
    made = Server(None, 0, None, asyncio.Event())  # type: ignore[arg-type]
    made.listener = Listener(made.handle, lambda request, error: Response(500), tls)
    made.port = await made.listener.listen(Address("127.0.0.1", 0))
    made.tls = client_context(str(tmp_path / "ca.crt")) if tls else None
    yield made
    made.go_on.set()
    await made.listener.close()


@contextlib.contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Only so many more may be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) - 1 + left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def ask(ends: Ends, what: bytes = GET) -> bytes:
    """The answer; nothing when the connection was closed."""
    reader, writer = ends
    writer.write(what)
    try:
        return await asyncio.wait_for(reader.readuntil(b"here"), 60)
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""


async def is_closed(ends: Ends) -> bool:
    try:
        return await asyncio.wait_for(ends[0].read(1), 60) == b""
    except ConnectionError:
        return True


def close(*all: Ends) -> None:
    for _, writer in all:
        writer.close()


async def test_the_idle_make_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that asked longest ago goes first; whoever waits for an answer keeps the connection, and gets it."""
    monkeypatch.setattr(listener, "most_connections", lambda: 3)
    busy, first, second = [await server.connect() for _ in range(3)]
    busy[1].write(GET.replace(b"quick", b"slow"))
    assert await ask(first) and await ask(second) and await ask(first)
    late = await server.connect()
    assert await ask(late)
    assert await is_closed(second)
    assert await ask(first)
    server.go_on.set()
    assert await asyncio.wait_for(busy[0].readuntil(b"here"), 60)
    close(busy, first, late)


async def test_a_crowd_of_the_busy_is_not_joined(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every connection is in use the new one is closed at once; the next comes in when one has gone."""
    monkeypatch.setattr(listener, "most_connections", lambda: 2)
    busy = [await server.connect() for _ in range(2)]
    for _, writer in busy:
        writer.write(GET.replace(b"quick", b"slow"))
    while server.asked < 2:
        await asyncio.sleep(0.01)
    with contextlib.suppress(OSError):
        refused = await server.connect()
        assert await is_closed(refused)
    server.go_on.set()
    for reader, _ in busy:
        assert await asyncio.wait_for(reader.readuntil(b"here"), 60)
    late = await server.connect()
    assert await ask(late)
    close(late, *busy)


@pytest.mark.parametrize("path", [b"long", b"whole"])
async def test_an_answer_that_is_being_read_is_no_idleness(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    """Whoever takes long to read it keeps the connection, and gets all of it."""
    monkeypatch.setattr(listener, "most_connections", lambda: 1)
    reader, writer = slow = await server.connect()
    writer.write(GET.replace(b"quick", path))
    assert b"Content-Length: 40000000" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    with contextlib.suppress(OSError):
        assert await is_closed(await server.connect())
    assert len(await asyncio.wait_for(reader.readexactly(40_000_000), 60)) == 40_000_000
    assert await ask(slow)
    close(slow)


async def test_memory_bounds_the_crowd_where_descriptors_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the descriptors, and no more than the memory of a usual machine bears."""
    for limit, most in ((64, 32), (1024, 768), (16_384, 12_288), (1_048_576, accepting.MOST_CONNECTIONS)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        assert accepting.most_connections() == most
    assert 10_000 < accepting.MOST_CONNECTIONS <= 20_000


async def test_no_descriptor_left(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; who waits for an answer gets it, the idle make room, and afterwards all is as before."""
    caplog.set_level(logging.INFO, "sampan")
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(listener, "most_connections", lambda: 1000)
    steady, idle = await server.connect(), await server.connect()
    steady[1].write(GET.replace(b"quick", b"slow"))
    assert await ask(idle)
    clients = [_socket() for _ in range(4)]
    with descriptors(0):
        for client in clients:
            client.connect(("127.0.0.1", server.port))
        while "can't be accepted" not in caplog.text:
            await asyncio.sleep(0.01)
        server.go_on.set()
        assert await asyncio.wait_for(steady[0].readuntil(b"here"), 60)
    for client in clients:
        client.close()
    assert await is_closed(idle)
    late = await server.connect()
    assert await ask(late)
    assert caplog.text.count("can't be accepted, and is closed: Too many open files") == 1
    assert caplog.text.count("connections are accepted again") == 1
    close(late, steady)


def _socket() -> Any:
    import socket

    return socket.socket()


async def test_a_handshake_that_is_never_made(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and says nothing is cut off in time, before TLS and after it; nothing of it is left."""
    monkeypatch.setattr(listener, "FIRST_REQUEST_SECONDS", 0.2)
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
    assert all([await is_closed(ends) for ends in silent])
    while server.listener._guests:
        await asyncio.sleep(0.01)
    close(*silent)


async def test_who_does_not_read_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long answer holds a connection for its time only, and others are served meanwhile; who reads gets all of it."""
    reader, writer = whole = await server.connect()
    writer.write(GET.replace(b"quick", b"long"))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert b"Content-Length: 40000000" in head
    assert len(await asyncio.wait_for(reader.readexactly(40_000_000), 60)) == 40_000_000
    assert await ask(whole)
    monkeypatch.setattr(answer, "WRITE_SECONDS", 0.3)
    stuck = await server.connect()
    stuck[1].write(GET.replace(b"quick", b"long"))
    await asyncio.wait_for(stuck[0].readuntil(b"\r\n\r\n"), 60)
    assert await ask(whole)
    while len(server.listener._guests) > 1:
        await asyncio.sleep(0.01)
    assert await ask(whole)
    close(whole, stuck)
