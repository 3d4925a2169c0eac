"""Forwarded ports under pressure: what is held of a caller is bounded, and nobody who has gone is waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.node import port_forward
from sampan.node.network import loopback
from sampan.web import spdy


class Caller:
    """A WebSocket. What it `says` is taken one by one."""

    def __init__(self, protocol: str = port_forward.TUNNEL) -> None:
        self.ws_protocol = protocol
        self.says: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard: list[spdy.Event] = []
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wire, self._ear = spdy.Connection(), spdy.Connection()

    def open(self, number: int, *kinds: str) -> None:
        for at, kind in enumerate(kinds):
            headers = {"streamType": kind, "port": "80", "requestID": str(number)}
            self.says.put_nowait(self.wire.open(4 * number + 1 + 2 * at, headers))

    def send(self, number: int, data: bytes) -> None:
        self.says.put_nowait(self.wire.data(4 * number + 3, data))

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            yield SimpleNamespace(data=await self.says.get())

    async def send_bytes(self, data: bytes) -> None:
        self.heard += self._ear.receive(data)

    async def close(self) -> None:
        pass


class Pod:
    """Its port 80. Who connects is not read until `go_on`, and then told `bye`."""

    def __init__(self) -> None:
        self.go_on, self.got, self.open = asyncio.Event(), 0, 0

    @asynccontextmanager
    async def dial(self, port: int) -> AsyncIterator[port_forward.Pipe]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1024)
        self.open += 1
        try:
            yield await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        finally:
            self.open -= 1
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.go_on.wait()
        writer.write(b"bye")
        writer.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_pod_that_does_not_read() -> None:
    """Its caller is not read either; when the pod closes, the caller's other connections go on."""
    caller, pod = Caller(), Pod()
    caller.open(0, "error", "data")
    for _ in range(200):
        caller.send(0, bytes(256 * 1024))
    serving = asyncio.ensure_future(port_forward.serve(caller, pod.dial, ()))
    before = -1
    while before != caller.says.qsize():  # it comes to a stop
        before = caller.says.qsize()
        await asyncio.sleep(0.2)
    assert caller.says.qsize() > 100
    pod.go_on.set()
    caller.open(1, "error", "data")
    await until(lambda: sum(isinstance(e, spdy.Data) and e.data == b"bye" for e in caller.heard) == 2)
    assert caller.says.empty()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_caller_that_leaves_while_it_is_not_read() -> None:
    """Nothing is left of it."""
    caller, pod = Caller(), Pod()
    caller.open(0, "error", "data")
    for _ in range(200):
        caller.send(0, bytes(256 * 1024))
    serving = asyncio.ensure_future(port_forward.serve(caller, pod.dial, ()))
    await until(lambda: pod.open)
    caller.gone.set_result(None)
    async with asyncio.timeout(60):
        await serving
    assert not pod.open


async def test_streams_that_come_without_the_other_one() -> None:
    """Are bounded in number; connections that are whole are not hindered."""
    caller, pod = Caller(), Pod()
    pod.go_on.set()
    for number in range(port_forward.MOST_HALF_OPEN + 5):
        caller.open(number, "error")
    caller.says.put_nowait(caller.wire.open(4 * 0 + 3, {"streamType": "data", "port": "80", "requestID": "0"}))
    serving = asyncio.ensure_future(port_forward.serve(caller, pod.dial, ()))
    await until(lambda: any(isinstance(e, spdy.Data) and e.data == b"bye" for e in caller.heard))
    assert sum(isinstance(event, spdy.Reset) for event in caller.heard) == 5
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize("protocol", port_forward.PROTOCOLS)
async def test_no_room_for_one_more_connection(protocol: str) -> None:
    """The caller is told why on its error stream."""

    @asynccontextmanager
    async def dial(port: int) -> AsyncIterator[port_forward.Pipe]:
        raise OSError(11, "Resource temporarily unavailable")
        yield

    caller = Caller(protocol)
    said: list[bytes] = []

    async def hear(data: bytes) -> None:
        said.append(data)

    caller.send_bytes = hear  # type: ignore[method-assign]
    caller.open(0, "error", "data")
    serving = asyncio.ensure_future(port_forward.serve(caller, dial, (80,)))
    text = b"failed to connect to localhost:80 inside namespace: resource temporarily unavailable"
    await until(lambda: any(text in data for data in said))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_the_loopback() -> None:
    """Who listens on IPv6 alone is reached too; where nobody does, the kernel's words are told, and nothing stays open."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "::1", 0)
    port = server.sockets[0].getsockname()[1]
    ends = loopback.sockets()
    found = await loopback.connected(ends, port)
    assert (found, ends[0].fileno()) == (ends[1], -1)
    found.close()
    server.close()
    ends = loopback.sockets()
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        await loopback.connected(ends, port)
    assert [end.fileno() for end in ends] == [-1, -1]


@pytest.mark.parametrize("by_reset", [True, False])
async def test_half_open_ones_that_go(monkeypatch: pytest.MonkeyPatch, by_reset: bool) -> None:
    """By the caller's word or after a while; then there is room for others."""
    if not by_reset:
        monkeypatch.setattr(port_forward, "HALF_OPEN_SECONDS", 0.05)
    caller, pod = Caller(), Pod()
    pod.go_on.set()
    for number in range(port_forward.MOST_HALF_OPEN):
        caller.open(number, "error")
        if by_reset:
            caller.says.put_nowait(caller.wire.reset(4 * number + 1))
    serving = asyncio.ensure_future(port_forward.serve(caller, pod.dial, ()))
    if not by_reset:
        told = b"(request=0) timed out waiting for streams"
        await until(lambda: spdy.Data(1, told, True) in caller.heard)
        await until(lambda: sum(isinstance(e, spdy.Data) for e in caller.heard) == port_forward.MOST_HALF_OPEN)
    caller.open(port_forward.MOST_HALF_OPEN, "error", "data")
    await until(lambda: any(isinstance(e, spdy.Data) and e.data == b"bye" for e in caller.heard))
    assert not any(isinstance(event, spdy.Reset) for event in caller.heard)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_stream_that_comes_twice() -> None:
    """Is refused."""
    caller, pod = Caller(), Pod()
    caller.open(0, "error")
    headers = {"streamType": "error", "port": "80", "requestID": "0"}
    caller.says.put_nowait(caller.wire.open(5, headers))
    serving = asyncio.ensure_future(port_forward.serve(caller, pod.dial, ()))
    await until(lambda: spdy.Reset(5) in caller.heard)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize("protocol", port_forward.PROTOCOLS)
@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), TimeoutError(110, "Timed out")]
)
async def test_a_pod_that_breaks_the_connection(protocol: str, error: OSError) -> None:
    """The caller is told why, and sees both streams end."""

    @asynccontextmanager
    async def dial(port: int) -> AsyncIterator[port_forward.Pipe]:
        async with pod.dial(port) as (reader, writer):
            reader.set_exception(error)
            yield reader, writer

    caller, pod = Caller(protocol), Pod()
    said: list[bytes] = []

    async def hear(data: bytes) -> None:
        said.append(data)

    if protocol == port_forward.CHANNELS:
        caller.send_bytes = hear  # type: ignore[method-assign]
    caller.open(0, "error", "data")
    serving = asyncio.ensure_future(port_forward.serve(caller, dial, (80,)))
    text = b"error forwarding port 80: the connection to localhost:80 inside namespace broke: "
    text += str(error.strerror).lower().encode()
    if protocol == port_forward.CHANNELS:
        await until(lambda: b"\x01" + text in said)
    else:
        await until(lambda: sum(isinstance(e, spdy.Data) and e.is_last for e in caller.heard) == 2)
        assert spdy.Data(1, text, False) in caller.heard
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
