"""SPDY/3.1 framing, as far as Kubernetes clients and container runtimes use it: streams with headers, data, ends. Pure.

`Connection.receive` takes bytes as they come and gives events; the other methods give the bytes to be sent. There is
no flow control, as in the clients' own library.

https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_FRAME_BYTES = 1 << 20
FIN = 1
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_CONTROL = 0x80030000
_CANCEL = 5

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + _TAIL.encode()
)
"""What headers are compressed with, section 2.6.10.1 of the specification."""


class SpdyError(ValueError):
    """The other side does not speak the protocol; the connection is over."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new stream. Header names are in lower case."""

    stream: int
    headers: dict[str, str]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `is_last` when the other side sends no more."""

    stream: int
    data: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream that is broken off."""

    stream: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """`answer` is to be sent."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The other side opens no more streams."""


Event = Opened | Data | Reset | Pinged | Closed


class Connection:
    """One connection's state: what came and is no whole frame yet, and the headers' compression."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the bytes complete. Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            size = second & 0xFFFFFF
            if size > MAX_FRAME_BYTES:
                raise SpdyError(f"a frame of {size} bytes")
            if len(self._buffer) < 8 + size:
                return
            body = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            flags = second >> 24
            if not first & 0x80000000:
                yield Data(first, body, bool(flags & FIN))
            elif first & 0x7FFF0000 != _CONTROL & 0x7FFF0000:
                raise SpdyError(f"version {first >> 16 & 0x7FFF} of the protocol")
            elif (event := self._control(first & 0xFFFF, flags, body)) is not None:
                yield event

    def open(self, stream: int, headers: dict[str, str]) -> bytes:
        """A new stream; a client's have odd numbers that only grow."""
        return _frame(_SYN_STREAM, 0, struct.pack(">IIH", stream, 0, 0) + self._headers(headers))

    def reply(self, stream: int) -> bytes:
        """The stream is taken."""
        return _frame(_SYN_REPLY, 0, struct.pack(">I", stream) + self._headers({}))

    def data(self, stream: int, data: bytes, *, is_last: bool = False) -> bytes:
        """Bytes for the other side."""
        return struct.pack(">II", stream, (FIN if is_last else 0) << 24 | len(data)) + data

    def reset(self, stream: int) -> bytes:
        """The stream is broken off."""
        return _frame(_RST_STREAM, 0, struct.pack(">II", stream, _CANCEL))

    def _control(self, kind: int, flags: int, body: bytes) -> Event | None:
        try:
            if kind == _SYN_STREAM:
                (stream,) = struct.unpack_from(">I", body)
                return Opened(stream & 0x7FFFFFFF, self._read_headers(body[10:]), bool(flags & FIN))
            if kind == _RST_STREAM:
                return Reset(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)
            if kind == _PING:
                return Pinged(_frame(_PING, 0, body[:4]))
            if kind == _GOAWAY:
                return Closed()
            if kind in (_SYN_REPLY, _HEADERS):  # they have to be read, for the next ones' sake
                self._read_headers(body[4:])
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a broken frame of type {kind}: {error}") from error
        return None  # settings, window updates and what came later in the protocol's life

    def _read_headers(self, block: bytes) -> dict[str, str]:
        raw = self._inflate.decompress(block, MAX_FRAME_BYTES)
        if self._inflate.unconsumed_tail:
            raise SpdyError("headers of more than a megabyte")
        (count,), at, found = struct.unpack_from(">I", raw), 4, {}
        for _ in range(count):
            texts = []
            for _ in range(2):
                (size,) = struct.unpack_from(">I", raw, at)
                texts.append(raw[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[texts[0].lower()] = texts[1]
            if at > len(raw):
                raise SpdyError("headers that end too soon")
        return found

    def _headers(self, headers: dict[str, str]) -> bytes:
        block = struct.pack(">I", len(headers))
        for text in (text for pair in headers.items() for text in pair):
            block += struct.pack(">I", len(text.encode())) + text.encode()
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | kind, flags << 24 | len(body)) + body
