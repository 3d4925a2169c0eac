"""Patience: how much an evaluation may cost where it is, before it gives up to be done again where it holds nobody up.

The caller sets it (`limit`); without one an evaluation goes on to its own limits. A unit of cost is CEL's, about a
microsecond.
"""

from contextvars import ContextVar, Token


class TooLong(BaseException):
    """Patience has ended. No answer, and no failure either: nothing but `limit`'s caller may take it."""


_Rest = list[int]  # one number: what is left of somebody's patience
REST: ContextVar[_Rest | None] = ContextVar("rest", default=None)


def limit(cost: int) -> Token[_Rest | None]:
    """From now on everything that is evaluated may cost so much together, beyond which TooLong is raised; until `end`."""
    return REST.set([cost])


def end(token: Token[_Rest | None]) -> None:
    """The patience is again what it was before `limit`."""
    REST.reset(token)


def left() -> int | None:
    """What may still be spent; None when there is no hurry."""
    rest = REST.get()
    return None if rest is None else rest[0]


def spend(cost: int) -> None:
    """Takes the cost of something that is done, or is about to be. Raises TooLong."""
    rest = REST.get()
    if rest is None:
        return
    rest[0] -= cost
    if rest[0] < 0:
        raise TooLong
