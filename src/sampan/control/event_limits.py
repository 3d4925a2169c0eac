"""Event limits: similar events are combined, and one object is told about only so often.

Of events that differ in their text alone, nine within ten minutes are told one by one; one more stands for
all the others. Of one component, an object gets 25 events at once, then one in five minutes.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

TOLD_APART = 9
SIMILAR_SECONDS = 600.0
BURST = 25.0
SECONDS_FOR_ONE = 300.0
REMEMBERED = 4096
FORGOTTEN_SECONDS = 900.0
"""What was not told again for so long is an event of its own when it is."""
SWEEP_SECONDS = 60.0
COMBINED = "(combined from similar events): "

V = TypeVar("V")


class Limits:
    """`now` is monotonic seconds."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Hashable, tuple[dict[str, None], float]] = OrderedDict()
        self._spent: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._swept = 0.0

    def told_as(self, kind: Hashable, text: str, now: float) -> str:
        """The text, or "" when events of this kind are to be combined."""
        texts, last = self._texts.pop(kind, ({}, now))
        if now - last > SIMILAR_SECONDS:
            texts = {}
        is_apart = text in texts or len(texts) < TOLD_APART
        if is_apart:
            texts[text] = None
        _remember(self._texts, kind, (texts, now))
        forget(self._texts, lambda known: now - known[1] > SIMILAR_SECONDS)
        return text if is_apart else ""

    def may_tell(self, subject: Hashable, now: float) -> bool:
        """Whether the subject's share is not used up; uses a bit of it."""
        left, last = self._spent.pop(subject, (BURST, now))
        left = min(left + (now - last) / SECONDS_FOR_ONE, BURST)
        is_allowed = left >= 1.0
        _remember(self._spent, subject, (left - 1.0 if is_allowed else left, now))
        if now - self._swept > SWEEP_SECONDS:
            self._swept = now
            spent = [(k, (left, last)) for k, (left, last) in self._spent.items() if _is_spent(left, now - last)]
            self._spent = OrderedDict(spent)
        return is_allowed


def _is_spent(left: float, seconds: float) -> bool:
    """Whether the share is not whole again."""
    return left + seconds / SECONDS_FOR_ONE < BURST


def forget(known: OrderedDict[Any, V], is_over: Callable[[V], bool]) -> list[Any]:
    """Lets go of the entries at the beginning of which that is true; their keys."""
    gone = []
    while known and is_over(known[key := next(iter(known))]):
        del known[key]
        gone.append(key)
    return gone


def _remember(where: OrderedDict[Hashable, V], key: Hashable, value: V) -> None:
    where[key] = value
    if len(where) > REMEMBERED:
        where.popitem(last=False)
