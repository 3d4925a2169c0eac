"""Texts: what was made of short texts is remembered, of so many at most: long ones, and what has become much, are not kept."""

from collections.abc import Callable
from typing import TypeVar

from sampan.kit import compact_json

K = TypeVar("K", str, bytes)
V = TypeVar("V")

LONGEST = 256
"""Characters. A client may send texts of megabytes; of what comes again and again, all are shorter."""


class Texts(dict[K, V]):
    """`texts[text]` is what `make` makes of the text. What `make` raises is raised each time.

    Bytes are JSON as orjson gives it: looked up as they are, kept in as much memory as they are long.
    """

    __slots__ = ("_longest", "_make", "_most")

    def __init__(self, make: Callable[[K], V], most: int, longest: int = LONGEST) -> None:
        super().__init__()
        self._make: Callable[[K], V] = make
        self._most, self._longest = most, longest

    def __missing__(self, text: K) -> V:
        made = self._make(text)
        if len(text) <= self._longest:
            if len(self) >= self._most:
                self.clear()
            self[compact_json.compact(text) if isinstance(text, bytes) else text] = made
        return made
