"""Clients that vanish: whatever was under way for them ends at once, also where nothing comes and nothing is read."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sampan.web import listener
from sampan.web.listener import Address, Listener, Upgrade
from sampan.web.message import Request, Response

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"


@asynccontextmanager
async def served(answer: Callable[[Request], Any]) -> AsyncIterator[tuple[Listener, int]]:
    async def handle(request: Request) -> Response:
        found: Response = await answer(request)
        return found

    made = Listener(handle, lambda request, error: Response(500), None)
    try:
        yield made, await made.listen(Address("127.0.0.1", 0))
    finally:
        await made.close()


def vanish(writer: asyncio.StreamWriter) -> None:
    """By a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Silent:
    """Says one thing, and then nothing for ever."""

    def __init__(self) -> None:
        self.ended, self._has_said = asyncio.Event(), False

    def __aiter__(self) -> "Silent":
        return self

    async def __anext__(self) -> bytes:
        if self._has_said:
            await asyncio.Event().wait()
        self._has_said = True
        return b"hello"

    async def aclose(self) -> None:
        self.ended.set()


async def test_a_silent_answer() -> None:
    """Its reader's end is heard of, and the answer is let go."""
    body = Silent()

    async def answer(request: Request) -> Response:
        return Response(200, body)

    async with served(answer) as (_, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await reader.readuntil(b"hello")
        vanish(writer)
        await body.ended.wait()


class Backend:
    """A WebSocket to an agent that takes nothing and says nothing."""

    def __init__(self) -> None:
        self.closed, self.taking = asyncio.Event(), asyncio.Event()

    def __aiter__(self) -> "Backend":
        return self

    async def __anext__(self) -> Any:
        await asyncio.Event().wait()

    async def send_bytes(self, data: bytes) -> None:
        self.taking.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed.set()

    async def answer(self, request: Request) -> Response:
        """A client's WebSocket, joined to it."""
        return Response(101, hijack=Upgrade((), lambda client: listener.relay(client, self), self.close))


class SlowBackend(Backend):
    """One that takes what it is sent when it may, and not before."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.may_take = b"", asyncio.Event()

    async def send_bytes(self, data: bytes) -> None:
        self.taking.set()
        await self.may_take.wait()
        self.taken += data


async def test_last_words() -> None:
    """What a client sent before it left is passed on, also by who takes it later."""
    backend, heard_of = SlowBackend(), asyncio.Event()

    async def serve(client: Any) -> None:
        client.gone.add_done_callback(lambda _: heard_of.set())
        await listener.relay(client, backend)

    async def answer(request: Request) -> Response:
        return Response(101, hijack=Upgrade((), serve, backend.close))

    async with served(answer) as (_, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x82\x81\0\0\0\0x" * 3 + b"\x88\x80\0\0\0\0")
        await backend.taking.wait()
        writer.close()
        await heard_of.wait()
        backend.may_take.set()
        await backend.closed.wait()
    assert backend.taken == b"xxx"


async def test_a_file_in_one_message() -> None:
    """Is passed on whole: there are clients that send one so."""
    backend, size = SlowBackend(), 8 * 1024 * 1024
    backend.may_take.set()

    async with served(backend.answer) as (_, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x82\xff" + size.to_bytes(8, "big") + b"\0\0\0\0" + bytes(size) + b"\x88\x80\0\0\0\0")
        await backend.closed.wait()
        writer.close()
    assert backend.taken == bytes(size)


async def test_a_relay_that_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client sent has not been taken yet, so it is not read; its end is heard of all the same."""
    monkeypatch.setattr(listener, "LAST_WORDS_SECONDS", 0.0)
    backend = Backend()

    async with served(backend.answer) as (_, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x82\x81\0\0\0\0x")
        await backend.taking.wait()
        vanish(writer)
        await backend.closed.wait()


async def test_a_close_that_nobody_has_read() -> None:
    """Is seen by who looks for it before it begins anything, behind what was sent before."""
    ended = asyncio.Event()

    async def wait(client: Any) -> None:
        assert not client.has_closed
        while not client.has_closed:
            await asyncio.sleep(0.01)
        ended.set()

    async def answer(request: Request) -> Response:
        return Response(101, hijack=Upgrade((), wait))

    async with served(answer) as (_, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x82\x81\0\0\0\0x\x88\x80\0\0\0\0")
        await ended.wait()
        writer.close()


async def test_before_the_handshake() -> None:
    """What was opened for a client that has gone meanwhile is closed."""
    backend, asked, go_on = Backend(), asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Response:
        asked.set()
        await go_on.wait()
        return Response(101, hijack=Upgrade((), lambda client: listener.relay(client, backend), backend.close))

    async with served(answer) as (made, port), asyncio.timeout(60):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await asked.wait()
        vanish(writer)
        while made._guests:
            await asyncio.sleep(0.01)
        go_on.set()
        await backend.closed.wait()


async def test_a_web_socket_leaves_no_cycles() -> None:
    """Its memory, much with TLS, is free at once: nobody need look for cycles."""

    async def echo(client: Any) -> None:
        async for message in client:
            await client.send_bytes(message.data)

    async def answer(request: Request) -> Response:
        return Response(101, hijack=Upgrade((), echo))

    gc.collect()
    gc.disable()
    try:
        async with served(answer) as (made, port), asyncio.timeout(60):
            for end in (vanish, asyncio.StreamWriter.close):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(UPGRADE)
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"\x82\x81\0\0\0\0x")
                await reader.read(3)
                end(writer)
            while any(isinstance(found, listener._Sockets) for found in gc.get_objects()):
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
