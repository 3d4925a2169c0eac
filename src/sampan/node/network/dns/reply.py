"""Reply: an answer but for what differs from asker to asker, which is put in when it is sent.

That is the question's id and case, the bits and the EDNS record that are repeated, how much the asker takes, and
which of several addresses comes first.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from sampan.node.network.dns import wire

ANSWER, AUTHORITY, ADDITIONAL = range(3)
_POINTER = 0xC000
_FURTHEST = 0x4000
_STEP = 0x9E3779B1
"""The golden ratio's: multiples of it are spread evenly, also every second one."""
_AUTHORITATIVE, _TRUNCATED = 0x0400, 0x0200
_BASE = 0x8080
_HEAD = struct.Struct("!HHHHH")

Kind = tuple[str, int, int]
"""What figures are kept by: the zone, the question's type, the answer's code."""


class Turning(NamedTuple):
    """Addresses of which each is to be the first at times: where they are in the body, and how many of what size."""

    start: int
    size: int
    number: int


@dataclass(slots=True)
class Reply:
    """The records of an answer as they stand in a message behind its question; `ends` is where each ends.

    `counts` are how many there are in each section.
    """

    kind: Kind
    body: bytes = b""
    counts: tuple[int, int, int] = (0, 0, 0)
    ends: tuple[int, ...] = ()
    turning: Turning | None = None
    is_authoritative: bool = True
    target: bytes = b""
    """Where the answer leads that isn't ours to know."""
    heads: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.heads = _heads(self._flags, self.counts)

    @property
    def _flags(self) -> int:
        return (_AUTHORITATIVE if self.is_authoritative else 0) | self.code & 0xF

    @property
    def code(self) -> int:
        return self.kind[2]

    def packed(self, id: bytes, asked: wire.Question, turn: int, room: int = 0) -> bytes:
        """As a message, to be sent by UDP unless there is more room than that."""
        return self.sent(id + asked.text, asked.bits, asked.opt, room or asked.room, turn)

    def sent(self, id_and_text: bytes, bits: int, opt: bytes, room: int, turn: int) -> bytes:
        """The same from the parts: the question's id and section, the bits to repeat, our EDNS record, the room."""
        body, turning = self.body, self.turning
        if turning is not None:
            start, size, count = turning
            cut = start + size * ((turn * count) >> 32)
            if cut != start:
                end = start + size * count
                body = body[:start] + body[cut:end] + body[start:cut] + body[end:]
        if len(id_and_text) + len(body) + len(opt) + 10 > room:
            return self._cut(id_and_text, bits, opt, room, body)
        head = self.heads[bits | 4 if opt else bits]
        return b"".join((id_and_text[:2], head, id_and_text[2:], body, opt))

    def _cut(self, id_and_text: bytes, bits: int, opt: bytes, room: int, body: bytes) -> bytes:
        """As many whole records as there is room for, and a word of it if answers are missing."""
        space = room - len(id_and_text) - len(opt) - 10
        kept = bisect_right(self.ends, space)
        answers, authority, additional = self.counts
        counts = (
            min(kept, answers),
            min(max(kept - answers, 0), authority),
            min(max(kept - answers - authority, 0), additional),
        )
        flag = _TRUNCATED if kept < answers else 0
        head = _heads(self._flags | flag, counts)[bits | 4 if opt else bits]
        return b"".join((id_and_text[:2], head, id_and_text[2:], body[: self.ends[kept - 1] if kept else 0], opt))


@lru_cache(maxsize=1024)
def _heads(flags: int, counts: tuple[int, int, int]) -> tuple[bytes, ...]:
    """What stands between id and question: by the bits to repeat, then the same with an EDNS record."""
    answers, authority, additional = counts
    return tuple(
        _HEAD.pack(_BASE | flags | (bits & 1) << 8 | (bits & 2) << 3, 1, answers, authority, additional + (bits >> 2))
        for bits in range(8)
    )


def next_turn(turn: int) -> int:
    """A number below 2**32 for each answer, so that the first addresses are spread evenly."""
    return (turn + _STEP) & 0xFFFFFFFF


class Writer:
    """A reply that is being written. Names point to earlier ones where they can."""

    def __init__(self, key: bytes) -> None:
        self._at = wire.HEADER + len(key)
        self._names: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._counts = [0, 0, 0]
        self._turning: tuple[int, int] = (0, 0)
        self.name(key[:-4], wire.HEADER)

    def add(self, section: int, owner: bytes, found: Iterable[tuple[int, int, bytes, bytes]]) -> None:
        """Records of one owner: type, TTL, data, and the name that the data end with, b"" for none."""
        for type, ttl, data, target in found:
            short = self.name(owner, self._at)
            if target:
                inside = self._at + len(short) + 10 + len(data)
                whole = data + (target if type == wire.SRV else self.name(target, inside))
            else:
                whole = data
            self._put(section, wire.record(short, type, ttl, whole))

    def add_addresses(self, section: int, owner: bytes, found: list[tuple[int, int, bytes, bytes]]) -> None:
        """Records that all have the same size and take turns at being the first."""
        first = len(self._records)
        self.add(section, owner, found)
        if len(found) > 1 and len({len(item) for item in self._records[first:]}) == 1:
            self._turning = (first, len(found))

    def finished(self, kind: Kind, *, is_authoritative: bool = True, target: bytes = b"") -> Reply:
        """The reply."""
        ends, at = [], 0
        for item in self._records:
            at += len(item)
            ends.append(at)
        first, count = self._turning
        size = len(self._records[first]) if count else 0
        turning = Turning(ends[first] - size, size, count) if count else None
        answers, authority, additional = self._counts
        counts = (answers, authority, additional)
        return Reply(kind, b"".join(self._records), counts, tuple(ends), turning, is_authoritative, target)

    def _put(self, section: int, item: bytes) -> None:
        self._records.append(item)
        self._counts[section] += 1
        self._at += len(item)

    def name(self, name: bytes, at: int) -> bytes:
        """A name to be put there, as short as it can be."""
        known, inside = self._names, 0
        while name[inside]:
            rest = name[inside:].lower()
            place = known.get(rest)
            if place is not None:
                return name[:inside] + (_POINTER | place).to_bytes(2, "big")
            if at + inside < _FURTHEST:
                known[rest] = at + inside
            inside += name[inside] + 1
        return name
