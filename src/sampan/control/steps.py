"""Steps: a rule that takes its look bit by bit, so that nobody has to wait for the whole of it. Pure.

Between two steps others have their turn. What a rule has read before stays as it was, for objects never change; what
it reads later may be newer, as it may at any time.
"""

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]

MANY = 1000
"""So many objects are worth a step of their own."""


def run(steps: Generator[Any, Any, T]) -> T:
    """All of them at once."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found: T = end.value
        return found
