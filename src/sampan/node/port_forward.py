"""Forwarding ports of a pod to a caller: over a WebSocket, as SPDY streams or as numbered channels.

kubectl sends SPDY frames in the messages and opens a pair of streams (data, error) for each connection; clients that
ask for v4.channel.k8s.io name the ports in the query, and have one connection each: channel 2n is its data, 2n+1 its errors.

https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from sampan.kit.tasks import Tasks
from sampan.web import spdy

log = logging.getLogger(__name__)

TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"
PROTOCOLS = (TUNNEL, CHANNELS)
CHUNK = 32 * 1024
WAITING = 64

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[int], Awaitable[Pipe]]
"""Opens a connection to a port of the pod. OSError when nobody listens."""


async def serve(socket: Any, dial: Dial, ports: tuple[int, ...]) -> None:
    """Serves one caller until it leaves."""
    tasks = Tasks("port-forward")
    try:
        if socket.ws_protocol == CHANNELS:
            await _Channels(socket, dial, tasks).serve(ports)
        else:
            await _Streams(socket, dial, tasks).serve()
    except (ConnectionError, RuntimeError):
        pass  # the caller left
    except spdy.SpdyError as error:
        log.info("port-forward: %s", error)
    finally:
        await tasks.close()
        await socket.close()


@dataclass(eq=False)
class _Forward:
    """One connection: its two streams, and what the caller sent that the pod has not taken yet (None: its end)."""

    port: int = 0
    data: int = 0
    error: int = 0
    waiting: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(WAITING))
    task: asyncio.Task[None] | None = None


class _Streams:
    """Any number of connections, each when the caller opens its streams."""

    def __init__(self, socket: Any, dial: Dial, tasks: Tasks) -> None:
        self._socket, self._dial, self._tasks = socket, dial, tasks
        self._wire = spdy.Connection()
        self._by_id: dict[str, _Forward] = {}
        self._by_stream: dict[int, _Forward] = {}

    async def serve(self) -> None:
        async for message in self._socket:
            data = message.data.encode() if isinstance(message.data, str) else message.data
            for event in self._wire.receive(data if isinstance(data, bytes) else b""):
                await self._take(event)

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.Opened(stream=stream, headers=headers):
                await self._open(stream, headers)
            case spdy.Data(stream=stream, data=data, is_last=is_last):
                forward = self._by_stream.get(stream)
                if forward is not None and stream == forward.data:
                    if data:
                        await forward.waiting.put(data)
                    if is_last:
                        await forward.waiting.put(None)
            case spdy.Reset(stream=stream):
                forward = self._by_stream.get(stream)
                if forward is not None and stream == forward.data and forward.task is not None:
                    forward.task.cancel()
            case spdy.Pinged(answer=answer):
                await self._socket.send_bytes(answer)

    async def _open(self, stream: int, headers: dict[str, str]) -> None:
        kind, port, name = headers.get("streamtype"), headers.get("port", ""), headers.get("requestid", "")
        if kind not in ("data", "error") or not _is_port(port):
            await self._socket.send_bytes(self._wire.reset(stream))
            return
        await self._socket.send_bytes(self._wire.reply(stream))
        forward = self._by_id.setdefault(name or f"{stream}", _Forward())
        forward.port = int(port)
        self._by_stream[stream] = forward
        setattr(forward, kind, stream)
        if forward.data and forward.error:
            self._by_id.pop(name, None)
            forward.task = self._tasks.spawn(self._forward(forward), f"port {port}", critical=False)

    async def _forward(self, forward: _Forward) -> None:
        try:
            try:
                pipe = await self._dial(forward.port)
            except OSError as error:
                await self._socket.send_bytes(self._wire.data(forward.error, refusal(forward.port, error)))
            else:
                await _join(pipe, forward.waiting, self._sender(forward.data))
            await self._socket.send_bytes(self._wire.data(forward.data, b"", is_last=True))
            await self._socket.send_bytes(self._wire.data(forward.error, b"", is_last=True))
        except (ConnectionError, RuntimeError):
            pass  # the caller left
        finally:
            for stream in (forward.data, forward.error):
                self._by_stream.pop(stream, None)

    def _sender(self, stream: int) -> Callable[[bytes], Coroutine[Any, Any, None]]:
        async def send(data: bytes) -> None:
            await self._socket.send_bytes(self._wire.data(stream, data))

        return send


class _Channels:
    """One connection to each port of the query, from the start."""

    def __init__(self, socket: Any, dial: Dial, tasks: Tasks) -> None:
        self._socket, self._dial, self._tasks = socket, dial, tasks

    async def serve(self, ports: tuple[int, ...]) -> None:
        waiting: list[asyncio.Queue[bytes | None]] = []
        running = []
        for number, port in enumerate(ports):
            waiting.append(asyncio.Queue(WAITING))
            for channel in (2 * number, 2 * number + 1):
                await self._socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
            work = self._forward(number, port, waiting[number])
            running.append(self._tasks.spawn(work, f"port {port}", critical=False))
        feeding = self._tasks.spawn(self._feed(waiting), "input", critical=False)
        everything = asyncio.gather(*running, return_exceptions=True)
        await asyncio.wait((feeding, everything), return_when=asyncio.FIRST_COMPLETED)

    async def _feed(self, waiting: list[asyncio.Queue[bytes | None]]) -> None:
        async for message in self._socket:
            data = message.data
            if isinstance(data, bytes) and data and data[0] % 2 == 0 and data[0] // 2 < len(waiting) and len(data) > 1:
                await waiting[data[0] // 2].put(data[1:])

    async def _forward(self, number: int, port: int, waiting: asyncio.Queue[bytes | None]) -> None:
        try:
            try:
                pipe = await self._dial(port)
            except OSError as error:
                await self._socket.send_bytes(bytes((2 * number + 1,)) + refusal(port, error))
                return

            async def send(data: bytes) -> None:
                await self._socket.send_bytes(bytes((2 * number,)) + data)

            await _join(pipe, waiting, send)
        except (ConnectionError, RuntimeError):
            pass  # the caller left


async def _join(
    pipe: Pipe, waiting: asyncio.Queue[bytes | None], send: Callable[[bytes], Coroutine[Any, Any, None]]
) -> None:
    """Copies both ways until the pod has closed its side, or the connection breaks."""
    reader, writer = pipe

    async def feed() -> None:
        while (data := await waiting.get()) is not None:
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    feeding = asyncio.ensure_future(feed())
    try:
        while data := await reader.read(CHUNK):
            await send(data)
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        writer.close()


def refusal(port: int, error: OSError) -> bytes:
    """What the caller's error stream says."""
    why = error.strerror or str(error) or type(error).__name__
    return (
        f"error forwarding port {port}: failed to connect to localhost:{port} inside namespace: {why.lower()}".encode()
    )


def ports(asked: list[str]) -> tuple[int, ...]:
    """The ports of a query. Raises ValueError."""
    texts = [text for each in asked for text in each.split(",")]
    wrong = next((text for text in texts if not _is_port(text)), None)
    if wrong is not None:
        raise ValueError(f'unable to parse "{wrong}" as a port')
    return tuple(map(int, texts))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536
