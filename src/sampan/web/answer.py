"""An answer whose body is known: status line, headers and body in one write.

It stands in the place of aiohttp's own response, whose many options nobody here needs, on the way of every request.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from http import HTTPStatus

from aiohttp.helpers import rfc822_formatted_time

from sampan.web import serving
from sampan.web.message import CHUNK_BYTES, Pieces, Response

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY = (204, 304)
_LARGE_BYTES = 64 * 1024
WRITE_SECONDS = 60.0


class Answer(serving.StreamResponse):
    """What aiohttp's connection calls: `prepare`, `write_eof`, `keep_alive`."""

    def __init__(
        self, incoming: serving.BaseRequest, response: Response, body: bytes
    ) -> None:  # all that is needed of it
        headers = response.headers
        self._keep_alive = incoming.keep_alive and headers.get("Connection") != "close"
        self._status = response.status
        self._incoming = incoming
        self._bytes = _head(incoming, response, len(body), keeps_alive=self._keep_alive)
        self._rest = b""
        if incoming.method != "HEAD" and response.status not in _NO_BODY:
            if len(body) <= CHUNK_BYTES:
                self._bytes += body
            else:
                self._rest = body

    async def prepare(self, request: serving.BaseRequest) -> None:
        """There is nothing to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Writes all of it. Raises ConnectionResetError when the client has gone."""
        transport = self._incoming.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        transport.write(self._bytes)
        if self._rest:
            await write(self._incoming, _slices(self._rest))
        elif len(self._bytes) > _LARGE_BYTES:
            await self._incoming.writer.drain()


class Written(serving.StreamResponse):
    """An answer that was given already."""

    def __init__(self, status: int = 200, *, keeps_alive: bool = False) -> None:
        self._keep_alive, self._status = keeps_alive, status

    async def prepare(self, request: serving.BaseRequest) -> None:
        """There is nothing to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing left."""


async def give(incoming: serving.BaseRequest, response: Response, body: Pieces) -> serving.StreamResponse:
    """Gives an answer whose body comes in pieces. Raises ConnectionResetError when the client has gone."""
    try:
        transport = incoming.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        keeps_alive = bool(incoming.keep_alive) and response.headers.get("Connection") != "close"
        transport.write(_head(incoming, response, body.length, keeps_alive=keeps_alive))
        if incoming.method != "HEAD":
            await write(incoming, body)
        return Written(response.status, keeps_alive=keeps_alive)
    finally:
        await body.aclose()


async def write(incoming: serving.BaseRequest, chunks: AsyncIterable[bytes]) -> None:
    """Writes what is long, as fast as the client reads; others have their turn in between.

    One that does not read it in WRITE_SECONDS is cut off: ConnectionResetError.
    """
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            async for chunk in chunks:
                transport = incoming.transport
                if transport is None or transport.is_closing():
                    raise ConnectionResetError("the client went away")
                transport.write(chunk)
                await incoming.writer.drain()
                await asyncio.sleep(0)
    except TimeoutError:
        if incoming.transport is not None:
            incoming.transport.abort()
        raise ConnectionResetError("the client has not read its answer in time") from None


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]


def _head(incoming: serving.BaseRequest, response: Response, length: int, *, keeps_alive: bool) -> bytes:
    """Raises ValueError for a line break in a header."""
    minor, status = incoming.version[1], response.status
    headers = response.headers
    lines = [f"HTTP/1.{minor} {status} {_REASONS.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if response.content_type:
        lines.append(f"Content-Type: {response.content_type}")
    if "Date" not in headers and "date" not in headers:  # another server's, handed on
        lines.append(f"Date: {rfc822_formatted_time()}")
    if status not in _NO_BODY:
        lines.append(f"Content-Length: {length}")
    if keeps_alive and not minor:
        lines.append("Connection: keep-alive")
    elif not keeps_alive and minor and "Connection" not in headers:
        lines.append("Connection: close")
    head = "\r\n".join(lines)
    if head.count("\n") >= len(lines) or head.count("\r") >= len(lines):
        raise ValueError("a header holds a line break")
    return f"{head}\r\n\r\n".encode("utf-8", "surrogateescape")
