"""Forwarding ports of a pod to a caller: over a WebSocket, as SPDY streams or as numbered channels.

kubectl sends SPDY frames in the messages and opens a pair of streams (data, error) for each connection; clients that
ask for v4.channel.k8s.io name the ports in the query, and have one connection each: channel 2n is its data, 2n+1 its errors.

https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from sampan.kit.tasks import Tasks
from sampan.web import gone, spdy

log = logging.getLogger(__name__)

TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"
PROTOCOLS = (TUNNEL, CHANNELS)
CHUNK = 32 * 1024
WAITING = 8
"""Pieces of at most CHUNK that the pod has not taken yet, for each connection; then the caller is not read either."""
MOST_HALF_OPEN = 64
HALF_OPEN_SECONDS = 30.0
"""So many connections may have one of their two streams alone, for so long."""

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[int], AbstractAsyncContextManager[Pipe]]
"""A connection to a port of the pod. OSError when nobody listens."""


async def serve(socket: Any, dial: Dial, ports: tuple[int, ...]) -> None:
    """Serves one caller until it leaves."""
    tasks = Tasks("port-forward")
    try:
        if socket.ws_protocol == CHANNELS:
            serving = asyncio.ensure_future(_Channels(socket, dial, tasks).serve(ports))
        else:
            serving = asyncio.ensure_future(_Streams(socket, dial, tasks).serve())
        await gone.unless(socket, serving)
    except (ConnectionError, RuntimeError):
        pass  # the caller left
    except spdy.SpdyError as error:
        log.info("port-forward: %s", error)
    finally:
        await tasks.close()
        await socket.close()


class Inbox:
    """What a caller sent that the pod has not taken yet, piece by piece: None at its end."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING)
        self._is_closed = False

    async def put(self, data: bytes) -> None:
        """Waits while there is no room; what nobody will take is dropped."""
        for start in range(0, len(data), CHUNK):
            if not self._is_closed:
                await self._pieces.put(data[start : start + CHUNK])

    async def end(self) -> None:
        """The caller sends no more."""
        if not self._is_closed:
            await self._pieces.put(None)

    async def get(self) -> bytes | None:
        """The next piece."""
        return await self._pieces.get()

    def close(self) -> None:
        """Nobody takes any more; who waits for room goes on."""
        self._is_closed = True
        while not self._pieces.empty():
            self._pieces.get_nowait()


@dataclass(eq=False)
class _Forward:
    """One connection: its two streams, and what the caller sent that waits for the pod."""

    name: str
    port: int = 0
    data: int = 0
    error: int = 0
    waiting: Inbox = field(default_factory=Inbox)
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
                    await forward.waiting.put(data)
                    if is_last:
                        await forward.waiting.end()
            case spdy.Reset(stream=stream):
                forward = self._by_stream.get(stream)
                if forward is not None and self._is_half_open(forward):
                    self._drop(forward)
                elif forward is not None and stream == forward.data and forward.task is not None:
                    forward.task.cancel()
            case spdy.Pinged(answer=answer):
                await self._socket.send_bytes(answer)

    async def _open(self, stream: int, headers: dict[str, str]) -> None:
        kind, port = headers.get("streamtype"), headers.get("port", "")
        name = headers.get("requestid") or f"{stream}"
        forward = self._by_id.get(name) or _Forward(name)
        is_surplus = len(self._by_id) >= MOST_HALF_OPEN and name not in self._by_id
        is_surplus |= bool({"data": forward.data, "error": forward.error}.get(kind or ""))  # it has one of these
        if kind not in ("data", "error") or not _is_port(port) or is_surplus:
            await self._socket.send_bytes(self._wire.reset(stream))
            return
        await self._socket.send_bytes(self._wire.reply(stream))
        self._by_id[name] = forward
        forward.port = int(port)
        self._by_stream[stream] = forward
        setattr(forward, kind, stream)
        if forward.data and forward.error:
            del self._by_id[name]
            if forward.task is not None:
                forward.task.cancel()
            forward.task = self._tasks.spawn(self._forward(forward), f"port {port}", critical=False)
        else:
            forward.task = self._tasks.spawn(self._give_up(forward), f"half of port {port}", critical=False)

    def _is_half_open(self, forward: _Forward) -> bool:
        return self._by_id.get(forward.name) is forward

    def _drop(self, forward: _Forward) -> None:
        """One that stays half open."""
        del self._by_id[forward.name]
        self._forget(forward)
        if forward.task is not None:
            forward.task.cancel()

    def _forget(self, forward: _Forward) -> None:
        forward.waiting.close()
        for stream in (forward.data, forward.error):
            self._by_stream.pop(stream, None)

    async def _give_up(self, forward: _Forward) -> None:
        """Tells of a connection whose other stream does not come."""
        await asyncio.sleep(HALF_OPEN_SECONDS)
        del self._by_id[forward.name]
        self._forget(forward)
        with contextlib.suppress(ConnectionError, RuntimeError):  # the caller left
            if forward.error:
                why = f"(request={forward.name}) timed out waiting for streams".encode()
                await self._socket.send_bytes(self._wire.data(forward.error, why, is_last=True))
            else:
                await self._socket.send_bytes(self._wire.reset(forward.data))

    async def _forward(self, forward: _Forward) -> None:
        try:
            async with AsyncExitStack() as opened:
                try:
                    pipe = await opened.enter_async_context(self._dial(forward.port))
                except OSError as error:
                    await self._socket.send_bytes(self._wire.data(forward.error, refusal(forward.port, error)))
                else:
                    broken = await _join(pipe, forward.waiting, self._sender(forward.data))
                    if broken is not None:
                        await self._socket.send_bytes(self._wire.data(forward.error, breach(forward.port, broken)))
            await self._socket.send_bytes(self._wire.data(forward.data, b"", is_last=True))
            await self._socket.send_bytes(self._wire.data(forward.error, b"", is_last=True))
        except (ConnectionError, RuntimeError):
            pass  # the caller left
        finally:
            self._forget(forward)

    def _sender(self, stream: int) -> Callable[[bytes], Coroutine[Any, Any, None]]:
        async def send(data: bytes) -> None:
            await self._socket.send_bytes(self._wire.data(stream, data))

        return send


class _Channels:
    """One connection to each port of the query, from the start."""

    def __init__(self, socket: Any, dial: Dial, tasks: Tasks) -> None:
        self._socket, self._dial, self._tasks = socket, dial, tasks

    async def serve(self, ports: tuple[int, ...]) -> None:
        waiting: list[Inbox] = []
        running = []
        for number, port in enumerate(ports):
            waiting.append(Inbox())
            for channel in (2 * number, 2 * number + 1):
                await self._socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
            work = self._forward(number, port, waiting[number])
            running.append(self._tasks.spawn(work, f"port {port}", critical=False))
        feeding = self._tasks.spawn(self._feed(waiting), "input", critical=False)
        everything = asyncio.gather(*running, return_exceptions=True)
        await asyncio.wait((feeding, everything), return_when=asyncio.FIRST_COMPLETED)

    async def _feed(self, waiting: list[Inbox]) -> None:
        async for message in self._socket:
            data = message.data
            if isinstance(data, bytes) and data and data[0] % 2 == 0 and data[0] // 2 < len(waiting) and len(data) > 1:
                await waiting[data[0] // 2].put(data[1:])

    async def _forward(self, number: int, port: int, waiting: Inbox) -> None:
        async def send(data: bytes) -> None:
            await self._socket.send_bytes(bytes((2 * number,)) + data)

        try:
            async with AsyncExitStack() as opened:
                try:
                    pipe = await opened.enter_async_context(self._dial(port))
                except OSError as error:
                    await self._socket.send_bytes(bytes((2 * number + 1,)) + refusal(port, error))
                else:
                    broken = await _join(pipe, waiting, send)
                    if broken is not None:
                        await self._socket.send_bytes(bytes((2 * number + 1,)) + breach(port, broken))
        except (ConnectionError, RuntimeError):
            pass  # the caller left
        finally:
            waiting.close()


async def _join(pipe: Pipe, waiting: Inbox, send: Callable[[bytes], Coroutine[Any, Any, None]]) -> OSError | None:
    """Copies both ways until the pod has closed its side. Returns why, if its connection broke; raises what `send` does."""
    reader, writer = pipe

    async def feed() -> None:
        while (data := await waiting.get()) is not None:
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    feeding = asyncio.ensure_future(feed())
    try:
        while True:
            try:
                data = await reader.read(CHUNK)
            except OSError as error:
                return error
            if not data:
                return None
            await send(data)
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        writer.close()


def refusal(port: int, error: OSError) -> bytes:
    """What the caller's error stream says when there is no connection to the pod."""
    return (
        f"error forwarding port {port}: failed to connect to localhost:{port} inside namespace: {_why(error)}".encode()
    )


def breach(port: int, error: OSError) -> bytes:
    """What it says when there was one, and the pod broke it."""
    return f"error forwarding port {port}: the connection to localhost:{port} inside namespace broke: {_why(error)}".encode()


def _why(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def ports(asked: list[str]) -> tuple[int, ...]:
    """The ports of a query. Raises ValueError."""
    texts = [text for each in asked for text in each.split(",")]
    wrong = next((text for text in texts if not _is_port(text)), None)
    if wrong is not None:
        raise ValueError(f'unable to parse "{wrong}" as a port')
    return tuple(map(int, texts))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536
