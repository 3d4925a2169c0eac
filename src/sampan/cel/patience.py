"""Patience: how much an evaluation may cost where it is, before it gives up to be done again where it holds nobody up.

The caller sets it (`limited`); without one an evaluation goes on to its own limits. A unit of cost is CEL's, about a
microsecond.
"""

from contextvars import ContextVar, Token
from types import TracebackType


class TooLong(BaseException):
    """Patience has ended. No answer, and no failure either: nothing but `limited`'s caller may take it."""


class _Rest:
    """What is left of somebody's patience."""

    __slots__ = ("cost",)

    def __init__(self, cost: int) -> None:
        self.cost = cost


_REST: ContextVar[_Rest | None] = ContextVar("rest", default=None)


class limited:  # noqa: N801 (used as a function is)
    """Everything that is evaluated inside `with` may cost so much together; beyond it TooLong is raised."""

    __slots__ = ("_cost", "_token")

    def __init__(self, cost: int) -> None:
        self._cost = cost

    def __enter__(self) -> None:
        self._token: Token[_Rest | None] = _REST.set(_Rest(self._cost))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, story: TracebackType | None
    ) -> None:
        _REST.reset(self._token)


def left() -> int | None:
    """What may still be spent; None when there is no hurry."""
    rest = _REST.get()
    return None if rest is None else rest.cost


def spend(cost: int) -> None:
    """Takes the cost of something that is done, or is about to be. Raises TooLong."""
    rest = _REST.get()
    if rest is None:
        return
    rest.cost -= cost
    if rest.cost < 0:
        raise TooLong
