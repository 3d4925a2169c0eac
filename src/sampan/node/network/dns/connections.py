"""Connections: questions by TCP, several at a time, answered as the answers come.

https://datatracker.ietf.org/doc/html/rfc7766#section-6.2.1.1
"""

import asyncio
import struct
from collections import Counter
from typing import cast

from sampan.kit.tasks import Tasks
from sampan.node.network.dns import wire
from sampan.node.network.dns.figures import Way
from sampan.node.network.dns.responder import Later, Responder

IDLE_SECONDS = 10.0
MAX_CONNECTIONS = 256
MAX_OF_ONE = 64
"""Connections from one address."""
MAX_AT_ONCE = 64
"""Questions of one connection that are being answered."""


class Connections:
    """All connections of one name server."""

    def __init__(self, responder: Responder, tasks: Tasks) -> None:
        self.responder, self.tasks = responder, tasks
        self._open: dict[Connection, str] = {}
        self._of: Counter[str] = Counter()

    def accept(self) -> "Connection":
        """A new one's protocol."""
        return Connection(self)

    def begin(self, connection: "Connection", host: str) -> bool:
        """Whether there is room for it."""
        if len(self._open) >= MAX_CONNECTIONS or self._of[host] >= MAX_OF_ONE:
            return False
        self._open[connection] = host
        self._of[host] += 1
        return True

    def end(self, connection: "Connection") -> None:
        """It is gone."""
        host = self._open.pop(connection, None)
        if host is not None:
            self._of[host] -= 1
            if not self._of[host]:
                del self._of[host]

    def close(self) -> None:
        """Ends them all."""
        for connection in list(self._open):
            connection.drop()


class Connection(asyncio.Protocol):
    """One of them."""

    def __init__(self, connections: Connections) -> None:
        self._connections, self._buffer = connections, bytearray()
        self._host, self._at_once, self._is_full = "", 0, False
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("",)
        self._host = peer[0]
        way: Way = ("tcp", "2" if ":" in self._host else "1")
        self._counts = self._connections.responder.figures.way(*way)
        if not self._connections.begin(self, self._host):
            self._transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wait()
        self._read()

    def pause_writing(self) -> None:
        self._is_full = True
        self._read()

    def resume_writing(self) -> None:
        self._is_full = False
        self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.end(self)
        self._transport = None
        if self._idle is not None:
            self._idle.cancel()

    def drop(self) -> None:
        """Ends it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self) -> None:
        """Gives the other side time anew."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.drop)

    def _read(self) -> None:
        """Takes the questions that are there, as long as there is room for their answers."""
        start = 0
        while self._transport is not None and self._at_once < MAX_AT_ONCE and not self._is_full:
            end = start + 2 + int.from_bytes(self._buffer[start : start + 2], "big")
            if len(self._buffer) < max(end, start + 2):
                break
            packet, start = bytes(self._buffer[start + 2 : end]), end
            answer = self._connections.responder.respond(packet, self._host, self._counts, wire.LARGEST)
            if answer is None:
                self.drop()
            elif isinstance(answer, bytes):
                self._write(answer)
            else:
                self._at_once += 1
                self._connections.tasks.spawn(self._write_later(answer), "tcp", critical=False)
        del self._buffer[:start]
        if self._transport is not None:
            is_busy = self._at_once >= MAX_AT_ONCE or self._is_full
            (self._transport.pause_reading if is_busy else self._transport.resume_reading)()

    async def _write_later(self, answer: Later) -> None:
        try:
            self._write(await answer)
        finally:
            self._at_once -= 1
            self._read()

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(struct.pack("!H", len(answer)) + answer)
