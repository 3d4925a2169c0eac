"""Reads tar streams: one entry after the other, with bounds on every number a header may hold.

Python's tarfile is not used for what strangers made: several of its releases loop or misplace data on
crafted headers. Understood are ustar, GNU long names and numbers, and pax headers
(https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html); sparse files are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from sampan.node.images.model import ImageError

BLOCK = 512
CHUNK = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_NAME_BYTES = 4096
MAX_FILE_BYTES = 1 << 42
MAX_ID = (1 << 32) - 2

FILE, HARDLINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"


class Readable(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


@dataclass(slots=True)
class Entry:
    """One member. `name` and `link` are as written, decoded with surrogate escapes and not yet trusted."""

    name: str
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    link: str
    xattrs: dict[str, bytes] = field(default_factory=dict)


class TarReader:
    """`for entry in reader`, and, before the next one, `reader.chunks()` for the entry's bytes."""

    def __init__(self, source: Readable | BinaryIO) -> None:
        self._source = source
        self._left = 0
        self._padding = 0
        self.position = 0

    def __iter__(self) -> Iterator[Entry]:
        common: dict[str, bytes] = {}
        local: dict[str, bytes] = {}
        while (block := self._next_block()) is not None:
            kind = chr(block[156]) if block[156] else FILE
            size = _number(block[124:136], "size", MAX_FILE_BYTES)
            if kind in "xgLK":
                body = self._header_body(size)
                _remember(kind, body, local, common)
                continue
            entry = _entry(block, kind, size, {**common, **local})
            local = {}
            self._left = entry.size if entry.type == FILE else 0
            self._padding = -self._left % BLOCK
            yield entry
            self._skip()

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the entry that was just handed out, in pieces."""
        while self._left:
            piece = self._read(min(self._left, CHUNK))
            self._left -= len(piece)
            yield piece

    def _skip(self) -> None:
        for _ in self.chunks():
            pass
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _next_block(self) -> bytes | None:
        block = self._exactly(BLOCK, may_end=True)
        if not block or not any(block):
            return None
        _check_sum(block)
        return block

    def _header_body(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise ImageError("archive: an extended header is over 1 MiB")
        body = self._exactly(size)
        self._exactly(-size % BLOCK)
        return body

    def _read(self, size: int) -> bytes:
        piece = self._source.read(size)
        if not piece:
            raise ImageError("archive: unexpected end")
        self.position += len(piece)
        return piece

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        parts: list[bytes] = []
        while size:
            if may_end and not parts:
                piece = self._source.read(size)
                self.position += len(piece)
                if not piece:
                    return b""
            else:
                piece = self._read(size)
            parts.append(piece)
            size -= len(piece)
        return b"".join(parts)


def _remember(kind: str, body: bytes, local: dict[str, bytes], common: dict[str, bytes]) -> None:
    if kind == "L":
        local["path"] = body.rstrip(b"\0")
    elif kind == "K":
        local["linkpath"] = body.rstrip(b"\0")
    else:
        (local if kind == "x" else common).update(_pax_records(body))


def _pax_records(body: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    at = 0
    while at < len(body) and body[at]:
        space = body.find(b" ", at, at + 12)
        length = body[at:space]
        if space < 0 or not length.isdigit():
            raise ImageError("archive: a damaged pax header")
        end = at + int(length)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(body) or not equals:
            raise ImageError("archive: a damaged pax header")
        records[key.decode("utf-8", "surrogateescape")] = value
        at = end
    return records


def _entry(block: bytes, kind: str, size: int, pax: dict[str, bytes]) -> Entry:
    if kind == "S" or any(key.startswith("GNU.sparse") for key in pax):
        raise ImageError("archive: sparse files are not supported")
    name = pax.get("path") or _header_name(block)
    link = pax.get("linkpath") or block[157:257].split(b"\0", 1)[0]
    if kind == FILE and name.endswith(b"/"):
        kind = DIRECTORY
    return Entry(
        name=_text(name),
        type=FILE if kind == "7" else kind,
        mode=_number(block[100:108], "mode", None) & 0o7777,
        uid=_pax_number(pax, "uid", block[108:116]),
        gid=_pax_number(pax, "gid", block[116:124]),
        size=_decimal(pax["size"], "size", MAX_FILE_BYTES) if "size" in pax else size,
        mtime=_mtime(pax.get("mtime"), block[136:148]),
        link=_text(link),
        xattrs={key[13:]: value for key, value in pax.items() if key.startswith("SCHILY.xattr.")},
    )


def _header_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(raw: bytes) -> str:
    if b"\0" in raw or len(raw) > MAX_NAME_BYTES:
        raise ImageError("archive: a name holds a NUL or is over 4096 bytes")
    return raw.decode("utf-8", "surrogateescape")


def _pax_number(pax: dict[str, bytes], key: str, raw: bytes) -> int:
    return _decimal(pax[key], key, MAX_ID) if key in pax else _number(raw, key, MAX_ID)


def _decimal(raw: bytes, what: str, limit: int) -> int:
    if not raw.isdigit() or len(raw) > 20 or int(raw) > limit:
        raise ImageError(f"archive: {what} is not a number in range")
    return int(raw)


def _number(raw: bytes, what: str, limit: int | None) -> int:
    if raw[0] & 0x80:
        value = int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
    else:
        digits = raw.strip(b" \0")
        if digits.strip(b"01234567"):
            raise ImageError(f"archive: {what} is not an octal number")
        value = int(digits or b"0", 8)
    if limit is not None and value > limit:
        raise ImageError(f"archive: {what} {value} is out of range")
    return value


def _mtime(pax: bytes | None, raw: bytes) -> float:
    latest = float(1 << 34)
    if pax is None:
        return 0.0 if raw[0] & 0x80 else min(float(_number(raw, "mtime", None)), latest)
    try:
        return min(max(float(pax[:32]), 0.0), latest)
    except ValueError as error:
        raise ImageError("archive: mtime is not a number") from error


def _check_sum(block: bytes) -> None:
    stated = _number(block[148:156], "checksum", None)
    if stated != sum(block) - sum(block[148:156]) + 8 * 32:
        raise ImageError("archive: a header's checksum is wrong; this is no tar archive, or a damaged one")
