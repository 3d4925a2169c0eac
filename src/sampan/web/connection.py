"""A connection's bounds: how large a request's head may be, and what is told to whoever speaks no HTTP.

The refusals are Go's: one line of plain text, and the connection is closed.

https://www.rfc-editor.org/rfc/rfc9112
"""

import asyncio
import logging
from typing import Any

from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from sampan.web import serving

LOG = logging.getLogger(__name__)
MAX_HEAD_BYTES = (1 << 20) + 4096
MAX_HEADERS = 8192  # each costs more than its bytes

_HEADERS = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
_TOO_LARGE = "431 Request Header Fields Too Large"
_WORDS = (  # of the parser, and what clients are told
    ("Too many headers", _TOO_LARGE),
    ("Missing 'Host' header", "400 Bad Request: missing required Host header"),
    ("Duplicate 'Host' header", "400 Bad Request: too many Host headers"),
)


class Connection(serving.RequestHandler):
    """aiohttp's connection, whose parser bounds each header and not all of them together."""

    __slots__ = ("_head_bytes", "_last_body")

    def __init__(self, server: serving.Server, loop: asyncio.AbstractEventLoop, keepalive_seconds: float) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=keepalive_seconds,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=MAX_HEADERS,
            access_log=None,  # type: ignore[arg-type]  # none is kept
        )
        self._head_bytes = 0
        self._last_body: Any = EMPTY_PAYLOAD

    def data_received(self, data: bytes) -> None:
        """Counts what comes between a request's end and the next one's."""
        known = self._request_count
        super().data_received(data)
        if self._request_count != known:
            self._last_body = self._messages[-1][1]
            self._head_bytes = 0
        elif self._last_body.is_eof() and not self._upgraded and self._payload_parser is None:  # else it was taken over
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()

    def _refuse(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._current_request is None:
            transport.write(_line(_TOO_LARGE))
            transport.close()
        else:
            transport.abort()  # in the middle of an answer nothing can be said

    def handle_error(
        self,
        request: serving.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> serving.StreamResponse:
        """The answer to what could not be read, or to what broke where nobody is left to answer."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way")
        if status != 400:
            LOG.error("a connection failed", exc_info=exc)
            return _Refusal(request, "500 Internal Server Error")
        LOG.debug("no request: %s", exc)
        if isinstance(exc, LineTooLong):
            return _Refusal(request, _TOO_LARGE)
        found = (text for words, text in _WORDS if words in str(exc))
        return _Refusal(request, next(found, "400 Bad Request"))


class _Refusal(serving.StreamResponse):
    """What aiohttp's connection calls: `prepare`, `write_eof`, `keep_alive`."""

    def __init__(self, incoming: serving.BaseRequest, text: str) -> None:
        self._keep_alive = False
        self._status = int(text[:3])
        self._incoming = incoming
        self._bytes = _line(text)

    async def prepare(self, request: serving.BaseRequest) -> None:
        """There is nothing to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Writes all of it. Raises ConnectionResetError when the client has gone."""
        transport = self._incoming.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        transport.write(self._bytes)


def _line(text: str) -> bytes:
    """The whole answer."""
    return f"HTTP/1.1 {text}{_HEADERS}{text}".encode()
