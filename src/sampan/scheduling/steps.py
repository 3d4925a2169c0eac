"""Steps: a decision taken bit by bit, so that nobody has to wait for the whole of it. Pure.

What is yielded is None, to give way, or a question to an extender; its answer is sent back.
"""

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

Steps = Generator[Any, Any, T]


def run(steps: Steps[T]) -> T:
    """All of them at once. Questions get no answer."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found: T = end.value
        return found
