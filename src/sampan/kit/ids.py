"""Ids: unique ids and the random ends of generated names. Given, so that a seed can decide them."""

import os
import random
from typing import Protocol

# No vowels and no digits that look like them, so that no generated name is a word.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
FETCHED_BYTES = 64 * 16
_VARIANTS = "89ab"
_RANDOM_FORM = 0x4000 << 64 | 0x8000 << 48  # version 4 of RFC 9562's variant
_FORM_BITS = 0xF000 << 64 | 0xC000 << 48


class Ids(Protocol):
    """Where names and ids come from."""

    def uid(self) -> str:
        """A new id in the form of a version 4 UUID."""
        ...

    def suffix(self, length: int = 5) -> str:
        """Random letters for the end of a generated name."""
        ...


class SystemIds:
    """From the operating system's randomness, fetched for many at once: unguessable and never repeated."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._fetched = ""

    def uid(self) -> str:
        if not self._fetched:
            self._fetched = os.urandom(FETCHED_BYTES).hex()
        taken, self._fetched = self._fetched[:32], self._fetched[32:]
        variant = _VARIANTS[int(taken[16], 16) & 3]
        return f"{taken[:8]}-{taken[8:12]}-4{taken[13:16]}-{variant}{taken[17:20]}-{taken[20:]}"

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(ALPHABET, k=length))


class SeededIds:
    """The same seed gives the same ids, in order. For tests and simulation only."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def copy(self) -> "SeededIds":
        """Another one that goes on with the same ids."""
        made = SeededIds(0)
        made._random.setstate(self._random.getstate())
        return made

    def uid(self) -> str:
        bits = self._random.getrandbits(128) & ~_FORM_BITS | _RANDOM_FORM
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(ALPHABET, k=length))
