"""Two connections joined after an upgrade: whatever one side sends, the other gets, until either ends.

The bytes are not looked at, so any protocol passes: WebSocket, SPDY or one that we have never heard of.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

CHUNK_BYTES = 65536
LINGER_SECONDS = 10.0


class Tunnel:
    """What a Response's `hijack` holds when a backend has answered 101: its connection, ready to be joined.

    `protocol` and `transport` are aiohttp's of the backend's connection; `release` lets go of it.
    """

    def __init__(self, protocol: Any, transport: Any, release: Callable[[], Awaitable[None]]) -> None:
        self._protocol = protocol
        self._transport = transport
        self._release = release

    async def join(self, protocol: Any, transport: Any) -> None:
        """Copies both ways until both sides have ended, or one has and the other stays silent for a while."""
        near, far = Side(protocol, transport), Side(self._protocol, self._transport)
        copies = [asyncio.ensure_future(_copy(near, far)), asyncio.ensure_future(_copy(far, near))]
        gone = getattr(protocol, "gone", None)
        try:
            await asyncio.wait([*copies, gone] if gone else copies, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(copies, timeout=LINGER_SECONDS)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            near.close()
            far.close()
            await self._release()

    async def close(self) -> None:
        """Lets go of the backend without joining anybody."""
        await self._release()


class Side:
    """One connection, taken over from aiohttp's HTTP parser."""

    def __init__(self, protocol: Any, transport: Any) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(CHUNK_BYTES, loop)
        self.reader.set_transport(transport)
        self.writer = asyncio.StreamWriter(transport, protocol, self.reader, loop)
        parser = _Feeder(self.reader)
        if hasattr(protocol, "_payload"):
            protocol.set_parser(parser, None)
        else:
            protocol.set_parser(parser)

    def close(self) -> None:
        self.writer.close()


class _Feeder:
    """In the place of an HTTP parser: hands bytes on as they come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed_data(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _copy(source: Side, target: Side) -> None:
    """Until the source ends; then the target is told."""
    with contextlib.suppress(ConnectionError):
        while data := await source.reader.read(CHUNK_BYTES):
            target.writer.write(data)
            await target.writer.drain()
    with contextlib.suppress(OSError, NotImplementedError):
        if target.writer.can_write_eof():
            target.writer.write_eof()
        else:
            target.close()
