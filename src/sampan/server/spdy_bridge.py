"""Clients that stream over SPDY/3.1: kubectl before 1.31, client-go's SPDY executor. Joined to an agent's WebSocket.

A forward's bytes are passed on as they are: the agent takes SPDY within its messages. Of a command each stream is a
SPDY stream here, and a channel there.

https://kubernetes.io/blog/2024/08/20/websockets-transition/
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import orjson

from sampan.meta import status
from sampan.web import spdy
from sampan.web.message import Request, Response
from sampan.web.tunnel import CHUNK_BYTES, Side, Tunnel

UPGRADE = "SPDY/3.1"
VERSION_HEADER = "X-Stream-Protocol-Version"
COMMANDS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
FORWARD = ("portforward.k8s.io",)
_WITH_SIZES = COMMANDS[:2]
STREAMS_SECONDS = 30.0
LINGER_SECONDS = 1.0
"""How long a client may take to open the streams that it has asked for."""

_CHANNELS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_STDIN, _ERROR, _RESIZE, _CLOSE = 0, 3, 4, 255


def is_wanted(request: Request) -> bool:
    """Whether the client asks for SPDY."""
    return request.headers.get("upgrade", "").lower() == UPGRADE.lower()


def negotiated(request: Request, known: tuple[str, ...]) -> str:
    """The version of the streams: the client's first that is known; the oldest when it names none. Raises ApiError 403."""
    offered = [name.strip() for name in request.headers.get(VERSION_HEADER.lower(), "").split(",") if name.strip()]
    if not offered:
        return known[-1]
    found = next((name for name in offered if name in known), None)
    if found is None:
        text = f"client supports [{' '.join(offered)}], server supports [{' '.join(known)}]"
        raise status.failure(403, "Forbidden", f"unable to upgrade: unable to negotiate protocol: {text}")
    return found


def expected(options: Mapping[str, Any], version: str) -> int:
    """How many streams the client is going to open for a command with these options, the one for errors included."""
    has_tty, wanted = bool(options.get("tty")), [options.get("stdin"), options.get("stdout")]
    wanted.append(options.get("stderr") and not has_tty)
    wanted.append(has_tty and version in _WITH_SIZES)
    return 1 + sum(map(bool, wanted))


def response(bridge: Tunnel, version: str) -> Response:
    """The answer, after which the client's connection is the bridge's."""
    answer = Response(101, hijack=bridge)
    answer.headers.update({"Connection": "Upgrade", "Upgrade": UPGRADE, VERSION_HEADER: version})
    return answer


class Forward(Tunnel):
    """Forwarded ports: the same bytes in both."""

    def __init__(self, backend: Any) -> None:
        super().__init__(None, None, backend.close)
        self._backend = backend

    async def join(self, protocol: Any, transport: Any) -> None:
        """Until either side ends."""
        client = Side(protocol, transport)
        copies = [asyncio.ensure_future(self._send(client)), asyncio.ensure_future(self._receive(client))]
        gone = getattr(protocol, "gone", None)
        try:
            await asyncio.wait([*copies, gone] if gone else copies, return_when=asyncio.FIRST_COMPLETED)
            # closing on what a client still sends would take from it what it has not read yet; and what one sent that has
            # left is still for the agent
            await asyncio.wait(copies[:1], timeout=LINGER_SECONDS)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            client.close()
            await self.close()

    async def _send(self, client: Side) -> None:
        while data := await client.reader.read(CHUNK_BYTES):
            await self._backend.send_bytes(data)

    async def _receive(self, client: Side) -> None:
        async for message in self._backend:
            client.writer.write(message.data)
            await client.writer.drain()


class Command(Forward):
    """A command's streams, once all are open. Clients before v4 get the outcome as text, and nothing for a good one."""

    def __init__(self, backend: Any, version: str, streams: int) -> None:
        super().__init__(backend)
        self._missing, self._all_open = streams, asyncio.Event()
        self._wire, self._has_status = spdy.Connection(), version == COMMANDS[0]
        self._channels: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

    async def _send(self, client: Side) -> None:
        while data := await client.reader.read(CHUNK_BYTES):
            for event in self._wire.receive(data):
                await self._take(client, event)
            await client.writer.drain()

    async def _take(self, client: Side, event: spdy.Event) -> None:
        match event:
            case spdy.Opened(stream=stream, headers=headers):
                channel = _CHANNELS.get(headers.get("streamtype", ""))
                if channel is None or channel in self._numbers:
                    client.writer.write(self._wire.reset(stream))
                    return
                client.writer.write(self._wire.reply(stream))
                self._channels[stream], self._numbers[channel] = channel, stream
                self._missing -= 1
                if self._missing <= 0:
                    self._all_open.set()
            case spdy.Data(stream=stream, data=data, is_last=is_last):
                await self._pass(self._channels.get(stream), data, is_last=is_last)
            case spdy.Pinged(answer=answer):
                client.writer.write(answer)

    async def _pass(self, channel: int | None, data: bytes, *, is_last: bool) -> None:
        if channel == _STDIN:
            if data:
                await self._tell(bytes((_STDIN,)) + data)
            if is_last:
                await self._tell(bytes((_CLOSE, _STDIN)))
        elif channel == _RESIZE:
            await self._tell(bytes((_RESIZE,)) + data)

    async def _tell(self, data: bytes) -> None:
        """Nothing, once the agent has gone: what it said last is still to be passed on."""
        with contextlib.suppress(ConnectionError):
            await self._backend.send_bytes(data)

    async def _receive(self, client: Side) -> None:
        async with asyncio.timeout(STREAMS_SECONDS):
            await self._all_open.wait()
        has_ended = False
        with contextlib.suppress(ConnectionError):
            async for message in self._backend:
                if isinstance(message.data, bytes) and message.data:
                    channel, payload = message.data[0], message.data[1:]
                    has_ended |= channel == _ERROR
                    await self._write(client, channel, self._told(payload) if channel == _ERROR else payload)
        if not has_ended:
            lost = status.internal("the connection to the node was lost")
            await self._write(client, _ERROR, self._told(orjson.dumps(lost.status)))
        for channel in sorted(self._numbers):
            client.writer.write(self._wire.data(self._numbers[channel], b"", is_last=True))
        with contextlib.suppress(ConnectionError):
            await client.writer.drain()

    async def _write(self, client: Side, channel: int, payload: bytes) -> None:
        if payload and channel in self._numbers:
            client.writer.write(self._wire.data(self._numbers[channel], payload))
            await client.writer.drain()

    def _told(self, outcome: bytes) -> bytes:
        if self._has_status:
            return outcome
        tree = orjson.loads(outcome)
        return b"" if tree.get("status") == "Success" else str(tree.get("message", "")).encode()
