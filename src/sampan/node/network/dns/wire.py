"""DNS messages as bytes: what a packet asks, where an answer's records are, and how names are written.

Names are handled as they are on the wire, so that nothing that can be sent fails to be represented. Whatever
comes may be forged or broken: reading raises Malformed, and nothing else.

https://datatracker.ietf.org/doc/html/rfc1035#section-4, https://datatracker.ietf.org/doc/html/rfc6891#section-6
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, IXFR, AXFR, ANY = (
    1,
    2,
    5,
    6,
    12,
    15,
    16,
    28,
    33,
    39,
    41,
    251,
    252,
    255,
)
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16
INTERNET = 1

HEADER = 12
LARGEST_UDP = 1232
"""More than this might be sent in fragments, which get lost: https://www.dnsflagday.net/2020/"""
SMALLEST_UDP = 512
LARGEST = 65535

RD, CD = 1, 2
"""The bits of a question's header that its answer repeats, as this module hands them on."""
DNSSEC_OK = 0x8000

_LONGEST_NAME = 255
_MAX_JUMPS = 64
_FIXED = struct.Struct("!HHIH")
_SHORT = struct.Struct("!H")
_COUNTS = struct.Struct("!HHHH")

Labels = tuple[str, ...]


class Malformed(ValueError):
    """The bytes are no DNS message."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a packet asks. `text` is its question section as it came, `key` the same with the name in lower case.

    `bits` are RD and CD. `room` is how many bytes the asker takes by UDP, `opt` the record that the answer
    ends with: b"" when the asker knows no EDNS.
    """

    text: bytes
    key: bytes
    bits: int = RD
    room: int = SMALLEST_UDP
    opt: bytes = b""
    version: int = 0
    wants_dnssec: bool = False

    @property
    def type(self) -> int:
        return int.from_bytes(self.key[-4:-2], "big")

    @property
    def is_internet(self) -> bool:
        return self.key[-1] == INTERNET and not self.key[-2]

    @property
    def name(self) -> bytes:
        return self.key[:-4]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a record is in its message: its owner's name, its fixed part, its data and its end."""

    owner: int
    fixed: int
    type: int
    ttl: int
    data: int
    end: int


def question(packet: bytes) -> Question:
    """What the packet asks. Raises Malformed."""
    if len(packet) < HEADER:
        raise Malformed
    questions, *others = _COUNTS.unpack_from(packet, 4)
    if questions != 1:
        raise Malformed
    end = plain_name_end(packet, HEADER) + 4
    if end > len(packet):
        raise Malformed
    bits = packet[2] & 1 | packet[3] >> 3 & 2
    key = packet[HEADER : end - 4].lower() + packet[end - 4 : end]
    options = [span for span in spans(packet, end, sum(others)) if span.type == OPT]
    if not options:
        return Question(packet[HEADER:end], key, bits)
    if len(options) > 1 or packet[options[0].owner]:
        raise Malformed
    size, ttl = _SHORT.unpack_from(packet, options[0].fixed + 2)[0], options[0].ttl
    wants_dnssec, version = bool(ttl & DNSSEC_OK), ttl >> 16 & 0xFF
    room = min(max(size, SMALLEST_UDP), LARGEST_UDP)
    ours = opt(wants_dnssec, BADVERS if version else NOERROR)
    return Question(packet[HEADER:end], key, bits, room, ours, version, wants_dnssec)


def opt(wants_dnssec: bool, code: int = NOERROR) -> bytes:
    """The record by which we say what we take, with the upper bits of the code."""
    return b"\0" + _FIXED.pack(OPT, LARGEST_UDP, (code >> 4) << 24 | (DNSSEC_OK if wants_dnssec else 0), 0)


def failure(packet: bytes, code: int) -> bytes:
    """The packet's header with an error code, and no question: it may not be readable."""
    return packet[:2] + struct.pack("!HHHHH", 0x8080 | (packet[2] & 0x79) << 8 | code, 0, 0, 0, 0)


def record(owner: bytes, type: int, ttl: int, data: bytes) -> bytes:
    """One record, of the Internet's class."""
    return owner + _FIXED.pack(type, INTERNET, ttl, len(data)) + data


def spans(packet: bytes, start: int, count: int) -> Iterator[Span]:
    """The records from there on. Raises Malformed."""
    for _ in range(count):
        fixed = _name_end(packet, start)
        if fixed + _FIXED.size > len(packet):
            raise Malformed
        type, _, ttl, length = _FIXED.unpack_from(packet, fixed)
        data = fixed + _FIXED.size
        if data + length > len(packet):
            raise Malformed
        yield Span(start, fixed, type, ttl, data, data + length)
        start = data + length


def plain_name_end(packet: bytes, at: int) -> int:
    """Where a name ends that may not point elsewhere. Raises Malformed."""
    start, size = at, len(packet)
    while at < size:
        length = packet[at]
        if length > 63:
            raise Malformed
        at += length + 1
        if not length:
            if at - start > _LONGEST_NAME:
                raise Malformed
            return at
    raise Malformed


def _name_end(packet: bytes, at: int) -> int:
    while at < len(packet):
        length = packet[at]
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed
        at += length + 1
        if not length:
            return at
    raise Malformed


def name(packet: bytes, at: int) -> bytes:
    """The whole name that is there, wherever its parts are. Raises Malformed."""
    found, size, jumps = [], 0, 0
    while at < len(packet):
        length = packet[at]
        if length >= 0xC0:
            jumps += 1
            if jumps > _MAX_JUMPS or at + 2 > len(packet):
                raise Malformed
            at = _SHORT.unpack_from(packet, at)[0] & 0x3FFF
            continue
        label = packet[at : at + length + 1]
        size += length + 1
        if length > 63 or len(label) <= length or size > _LONGEST_NAME:
            raise Malformed
        found.append(label)
        if not length:
            return b"".join(found)
        at += length + 1
    raise Malformed


def data(packet: bytes, span: Span) -> bytes:
    """The record's data with whole names in it. Raises Malformed."""
    before = {NS: 0, CNAME: 0, PTR: 0, DNAME: 0, SOA: 0, MX: 2, SRV: 6}.get(span.type)
    if before is None:
        return packet[span.data : span.end]
    at = span.data + before
    found = packet[span.data : at] + name(packet, at)
    if span.type == SOA:
        second = _name_end(packet, at)
        numbers = _name_end(packet, second)
        found += name(packet, second) + packet[numbers : numbers + 20]
    return found


def labels(name: bytes) -> Labels:
    """The labels of a whole name, innermost first."""
    found, at = [], 0
    while length := name[at]:
        found.append(name[at + 1 : at + 1 + length].decode("latin-1"))
        at += length + 1
    return tuple(found)


def encoded(text: str) -> bytes:
    """A name such as "db.shop.svc.cluster.local" as bytes. ValueError when it is too long or has empty labels."""
    found = b""
    for label in text.removesuffix(".").split("."):
        part = label.encode("latin-1")
        if not 0 < len(part) < 64:
            raise ValueError(f"{text!r} has a label of {len(part)} bytes")
        found += bytes((len(part),)) + part
    if len(found) >= _LONGEST_NAME:
        raise ValueError(f"{text!r} is too long")
    return found + b"\0"
