"""Exec and attach over the runtime's streaming server: SPDY/3.1 with a stream each for in, out, error, size.

https://kubernetes.io/blog/2016/12/container-runtime-interface-cri-in-kubernetes/
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from sampan.kit.tasks import Tasks
from sampan.node.runtime.protocol import RuntimeFailure, Stream
from sampan.web import spdy

PROTOCOL = "v4.channel.k8s.io"
CONNECT_SECONDS = 10.0
CHUNK = 32 * 1024
_QUEUED = 16
_PREFIX = "Internal error occurred: error executing command in container: "


class _Reader(Protocol):
    async def read(self, size: int) -> bytes: ...


class Session:
    """As `protocol.ExecSession`. What the command came to is on the error stream."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter, *, tty: bool, stdin: bool) -> None:
        """On a connection that has been upgraded."""
        self._reader, self._writer, self._tty = reader, writer, tty
        self._framing = spdy.Connection()
        names = ["error", *(["stdin"] if stdin else []), "stdout", "resize" if tty else "stderr"]
        self._numbers = {name: 2 * place + 1 for place, name in enumerate(names)}
        self._names = {number: name for name, number in self._numbers.items()}
        self._open = {"stdout"} if tty else {"stdout", "stderr"}
        self._chunks: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue(_QUEUED)
        self._outcome = bytearray()
        self._ended = asyncio.Event()
        self.pump: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Asks for the streams."""
        for name, number in self._numbers.items():
            self._writer.write(self._framing.open(number, {"streamtype": name}))

    async def read_all(self) -> None:
        """Takes what comes, until the other side is done."""
        try:
            while data := await self._reader.read(CHUNK):
                for event in self._framing.receive(data):
                    await self._take(event)
        except (OSError, spdy.SpdyError):
            pass
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.QueueFull):  # nobody waits for what there is too much of
                self._chunks.put_nowait(None)
            raise
        finally:
            self._ended.set()
        await self._chunks.put(None)

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """Chunks until both streams have ended."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def write(self, data: bytes) -> None:
        """Data for stdin."""
        number = self._numbers.get("stdin")
        if number is None or self._ended.is_set():
            return
        with contextlib.suppress(OSError):
            for at in range(0, len(data), CHUNK):
                self._writer.write(self._framing.data(number, data[at : at + CHUNK]))
                await self._writer.drain()

    async def close_stdin(self) -> None:
        """No more input."""
        number = self._numbers.pop("stdin", None)
        if number is not None and not self._ended.is_set():
            self._writer.write(self._framing.data(number, b"\x04" if self._tty else b"", is_last=True))

    async def resize(self, width: int, height: int) -> None:
        """The terminal takes this size."""
        number = self._numbers.get("resize")
        if number is not None and not self._ended.is_set():
            self._writer.write(self._framing.data(number, orjson.dumps({"Width": width, "Height": height}) + b"\n"))

    async def wait(self) -> int:
        """The exit code. RuntimeFailure when the process could not be started."""
        await self._ended.wait()
        return _exit_code(bytes(self._outcome))

    async def close(self) -> None:
        """Lets go. The interface has no way to kill an exec's process: it sees the end of its input."""
        if self.pump is not None:
            self.pump.cancel()
            await asyncio.gather(self.pump, return_exceptions=True)
        self._ended.set()
        self._writer.close()

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.Data(stream=number, data=data, is_last=is_last):
                name = self._names.get(number, "")
                if name == "error":
                    self._outcome += data
                elif data and name in ("stdout", "stderr"):
                    await self._chunks.put((name, data))  # type: ignore[arg-type]
                if is_last:
                    await self._end(name)
            case spdy.Reset(stream=number):
                await self._end(self._names.get(number, ""))
            case spdy.Pinged(answer=answer):
                self._writer.write(answer)
            case _:
                pass

    async def _end(self, name: str) -> None:
        if name == "error":
            self._ended.set()
        if name in self._open:
            self._open.discard(name)
            if not self._open:
                await self._chunks.put(None)


async def opened(url: str, tasks: Tasks, *, tty: bool, stdin: bool) -> Session:
    """A session at the URL that the runtime gave. Raises RuntimeFailure."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await _upgraded(url)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise RuntimeFailure("ExecFailed", f"the runtime's streaming server: {error}") from error
    session = Session(reader, writer, tty=tty, stdin=stdin)
    session.begin()
    session.pump = tasks.spawn(session.read_all(), "exec", critical=False)
    return session


async def _upgraded(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that speaks SPDY from here on. Raises RuntimeFailure, OSError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise RuntimeFailure(
            "ExecFailed", f"the runtime streams at {url}: take enable_tls_streaming out of its settings"
        )
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        f"X-Stream-Protocol-Version: {PROTOCOL}",
        "Content-Length: 0",
    )
    writer.write("\r\n".join((*lines, "", "")).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = head.split("\r\n", 1)[0]
    if status.split(" ")[1:2] != ["101"]:
        writer.close()
        raise RuntimeFailure("ExecFailed", f"the runtime's streaming server refuses: {status}")
    return reader, writer


def _exit_code(outcome: bytes) -> int:
    """From the Status that the other side ends with; nothing, as after an attach, is success."""
    if not outcome:
        return 0
    try:
        status: dict[str, Any] = orjson.loads(outcome)
    except orjson.JSONDecodeError:
        raise RuntimeFailure("ExecFailed", outcome.decode("utf-8", "replace")) from None
    if status.get("status") != "Failure":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise RuntimeFailure("ExecFailed", str(status.get("message") or "").removeprefix(_PREFIX))
