"""Clients that stream over SPDY, joined to an agent's WebSocket: which streams become which channels, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.meta import status
from sampan.server import spdy_bridge
from sampan.web import spdy
from sampan.web.listener import Address, Listener
from sampan.web.message import Request, Response

FAILED = {"status": "Failure", "message": "exit 3", "reason": "NonZeroExitCode"}


class Agent:
    """The WebSocket of an agent: what it was sent, and what it says."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.says: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.is_closed = asyncio.Event()

    async def send_bytes(self, data: bytes) -> None:
        await self.got.put(data)

    async def close(self) -> None:
        self.is_closed.set()

    def __aiter__(self) -> "Agent":
        return self

    async def __anext__(self) -> Any:
        data = await self.says.get()
        if data is None:
            raise StopAsyncIteration
        return SimpleNamespace(data=data)


class Client:
    """The other end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.wire = reader, writer, spdy.Connection()

    def open(self, *kinds: str) -> None:
        for number, kind in enumerate(kinds):
            self.writer.write(self.wire.open(2 * number + 1, {"streamType": kind}))

    def send(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        self.writer.write(self.wire.data(stream, data, is_last=is_last))

    async def rest(self) -> tuple[dict[int, bytes], set[int]]:
        """All that comes until the end, by stream, and the streams that were ended."""
        found: dict[int, bytes] = {}
        ended = set()
        while data := await self.reader.read(65536):
            for event in self.wire.receive(data):
                if isinstance(event, spdy.Data):
                    found[event.stream] = found.get(event.stream, b"") + event.data
                    ended |= {event.stream} if event.is_last else set()
        return {stream: data for stream, data in found.items() if data}, ended


@asynccontextmanager
async def joined(*versions: str, count: int = 2, is_forward: bool = False) -> AsyncIterator[tuple[Client, Agent, str]]:
    agent, known = Agent(), spdy_bridge.FORWARD if is_forward else spdy_bridge.COMMANDS

    async def handle(request: Request) -> Response:
        assert spdy_bridge.is_wanted(request)
        version = spdy_bridge.negotiated(request, known)
        bridge = spdy_bridge.Forward(agent) if is_forward else spdy_bridge.Command(agent, version, count)
        return spdy_bridge.response(bridge, version)

    def refuse(request: Request, error: BaseException) -> Response:
        assert isinstance(error, status.ApiError)
        return Response(error.code, error.message.encode())

    listener = Listener(handle, refuse, None)
    port = await listener.listen(Address("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"X-Stream-Protocol-Version: {version}\r\n" for version in versions)
    writer.write(f"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{lines}\r\n".encode())
    try:
        yield Client(reader, writer), agent, (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.close()
        await listener.close()


async def test_a_command() -> None:
    """Input with its end, sizes and output go their ways; the outcome comes last, and every stream is ended."""
    versions = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
    async with joined(*versions, count=5) as (client, agent, head):
        assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        assert "Upgrade: SPDY/3.1\r\n" in head
        assert "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n" in head
        agent.says.put_nowait(b"\x01early ")  # before the client has opened its streams
        client.open("error", "stdin", "stdout", "stderr", "resize", "nonsense")
        client.send(3, b"in")
        client.send(9, b'{"Width":80,')
        client.send(9, b'"Height":24}\n')
        client.send(3, b"put", is_last=True)
        got = [await agent.got.get() for _ in range(5)]
        sizes = [b'\x04{"Width":80,', b'\x04"Height":24}\n']
        assert got == [b"\0in", *sizes, b"\0put", b"\xff\0"]
        for said in (b"\x01out", b"\x02err", b"\x03" + json.dumps(FAILED).encode(), None):
            agent.says.put_nowait(said)
        found, ended = await client.rest()
        assert (found[5], found[7], json.loads(found[1])) == (b"early out", b"err", FAILED)
        assert ended == {1, 3, 5, 7, 9}
        await agent.is_closed.wait()


@pytest.mark.parametrize(("outcome", "told"), [(FAILED, {1: b"exit 3"}), ({"status": "Success"}, {})])
async def test_older_clients_get_text(outcome: dict[str, str], told: dict[int, bytes]) -> None:
    """And nothing when all went well."""
    async with joined("v2.channel.k8s.io") as (client, agent, _):
        client.open("error", "stdout")
        agent.says.put_nowait(b"\x03" + json.dumps(outcome).encode())
        agent.says.put_nowait(None)
        assert await client.rest() == (told, {1, 3})


def test_how_many_streams_there_will_be() -> None:
    """A terminal has no errors of its own, and a size where the version knows of it."""
    assert spdy_bridge.expected({"stdout": True}, "v4.channel.k8s.io") == 2
    everything = {"stdin": True, "stdout": True, "stderr": True}
    assert spdy_bridge.expected(everything, "v4.channel.k8s.io") == 4
    assert spdy_bridge.expected({**everything, "tty": True}, "v3.channel.k8s.io") == 4
    assert spdy_bridge.expected({**everything, "tty": True}, "v2.channel.k8s.io") == 3


async def test_an_agent_that_is_gone_is_no_success() -> None:
    """An error stream that ended empty would be one."""
    async with joined("v4.channel.k8s.io") as (client, agent, _):
        client.open("error", "stdout")
        agent.says.put_nowait(None)
        found, _ = await client.rest()
        assert json.loads(found[1])["status"] == "Failure"


async def test_a_client_that_leaves() -> None:
    """Ends the agent's side."""
    async with joined("v4.channel.k8s.io") as (client, agent, _):
        client.writer.close()
        await agent.is_closed.wait()


async def test_forwards_pass_as_they_are() -> None:
    """Byte for byte."""
    async with joined("portforward.k8s.io", is_forward=True) as (client, agent, head):
        assert "X-Stream-Protocol-Version: portforward.k8s.io\r\n" in head
        client.writer.write(b"anything")
        assert await agent.got.get() == b"anything"
        agent.says.put_nowait(b"back")
        agent.says.put_nowait(None)
        assert await client.reader.read() == b"back"


async def test_what_a_client_sent_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes to the agent also when the client has left by the time that it is taken."""
    monkeypatch.setattr(spdy_bridge, "LINGER_SECONDS", 60.0)
    async with joined("portforward.k8s.io", is_forward=True) as (client, agent, _):
        taken, go_on = [], asyncio.Event()

        async def slow(data: bytes) -> None:
            await go_on.wait()
            taken.append(data)

        agent.send_bytes = slow  # type: ignore[method-assign]
        client.writer.write(b"x" * 1000)
        client.writer.close()
        await asyncio.sleep(0.1)
        go_on.set()
        await agent.is_closed.wait()
        assert b"".join(taken) == b"x" * 1000


async def test_versions_that_nobody_speaks() -> None:
    """Are refused."""
    async with joined("v9.channel.k8s.io") as (client, _, head):
        assert head.startswith("HTTP/1.1 403 ")
        said = await client.reader.readuntil(b"]")
        assert said.startswith(b"unable to upgrade: unable to negotiate protocol: client supports [v9.channel.k8s.io]")


@pytest.mark.parametrize("is_forward", [False, True])
async def test_much_from_the_client(is_forward: bool) -> None:
    """More than a request's head may have goes through as it is."""
    sent, got = 0, 0
    version = "portforward.k8s.io" if is_forward else "v4.channel.k8s.io"
    async with joined(version, is_forward=is_forward) as (client, agent, head):
        assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        if not is_forward:
            client.open("error", "stdin")
        for _ in range(64):
            client.send(3, b"x" * 32768) if not is_forward else client.writer.write(b"x" * 32768)
            await client.writer.drain()
            sent += 32768
        while got < sent:
            got += (await agent.got.get()).count(b"x")
        agent.says.put_nowait(None)
        assert got == sent == 2 << 20
