"""Dice: chance from a seed. The same seed and name throw the same, on every machine.

Each use takes dice of its own (`dice.of("node-1")`), so that what one of them throws, or that it is taken
away, changes nothing for the others.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Throws that follow from a seed and a name."""

    def __init__(self, seed: int, name: str = "") -> None:
        self.seed = seed
        self.name = name
        start = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._random = random.Random(int.from_bytes(start, "big"))  # noqa: S311

    def of(self, name: str) -> "Dice":
        """Other dice, for a use of that name."""
        return Dice(self.seed, f"{self.name}/{name}")

    def happens(self, chance: float) -> bool:
        """True as often as `chance` (0 to 1) says."""
        return self._random.random() < chance

    def between(self, least: float, most: float) -> float:
        """A number from least to most, each as likely."""
        return self._random.uniform(least, most)

    def small(self, most: float) -> float:
        """A number up to `most`; a small one and one of another size are as likely (three decades)."""
        return most * float(10 ** self._random.uniform(-3, 0))

    def number(self, least: int, most: int) -> int:
        """A whole number from least to most, both included."""
        return self._random.randint(least, most)

    def pick(self, things: Sequence[T]) -> T:
        """One of them."""
        return self._random.choice(things)

    def shuffled(self, things: Sequence[T]) -> list[T]:
        """All of them, in any order."""
        return self._random.sample(things, len(things))
