"""A body that goes out as messages of a WebSocket: each of its frames is one.

https://www.rfc-editor.org/rfc/rfc6455#section-5.6
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from sampan.web import gone

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Messages:
    """What a Response's `hijack` holds whose body is sent so; `protocols` are on offer.

    Frames are lines, which become texts, or each follows its length, which is left out, and they become bytes.
    """

    protocols: tuple[str, ...]
    are_lines: bool

    async def serve(self, body: Any, patience: Any, client: Any) -> None:
        """Until the body ends or the client leaves. Then nobody wants the rest. `patience` is the listener's, with a client."""
        ways = asyncio.ensure_future(self._send(body, patience, client)), asyncio.ensure_future(until_closed(client))
        try:
            with contextlib.suppress(ConnectionError):
                await gone.unless(client, *ways)
        finally:
            patience.end()
            await body.aclose()

    async def _send(self, body: AsyncIterator[bytes], patience: Any, client: Any) -> None:
        async for piece in body:
            patience.since = patience.now()
            if self.are_lines:
                for line in piece.splitlines(keepends=True):
                    await client.send_str(line.decode())
            else:
                for frame in _delimited(piece):
                    await client.send_bytes(frame)
            patience.since = 0.0


async def until_closed(client: Any) -> None:
    """Until the client closes: there is nothing that it could say."""
    async for _ in client:
        pass


def _delimited(piece: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(piece):
        begin = start + _LENGTH_BYTES
        start = begin + int.from_bytes(piece[start:begin], "big")
        yield piece[begin:start]
