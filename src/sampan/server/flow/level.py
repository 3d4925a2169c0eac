"""Level: the seats of one priority level, and the fair queues of those who wait for one. No clock, no task.

Each flow is dealt a hand of queues, and waits in the shortest of them, so that a flow that floods fills
few queues and most others share none with it. Of the queues with waiting requests, the one that has had
the least service so far goes first. The last few seats are kept for flows that have none.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#queuing
"""

import asyncio
import hashlib
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]

DEFAULT_SHARES = 30
DEFAULT_QUEUES, DEFAULT_HAND, DEFAULT_LENGTH = 64, 8, 50
EXPECTED_SECONDS = 0.003
SPARE_PART = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a level may do. `queues` 0 means that nobody waits: what finds no seat is refused.

    `spare` are the seats that only a flow without a seat gets.
    """

    is_exempt: bool = False
    nominal: int = 0
    lendable: int = 0
    borrowing: int = 0
    queues: int = 0
    hand: int = 0
    length: int = 0
    spare: int = 0


@dataclass(slots=True, eq=False)
class Waiter:
    """A request in a queue. `seat` is done when it has one."""

    seats: int
    hash: int
    seat: "asyncio.Future[Queue]"


class Queue:
    """The waiting requests of some flows, and how much service they have had (in seat-seconds)."""

    __slots__ = ("executing", "service", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Waiter] = deque()
        self.service = 0.0
        self.executing = 0


class Level:
    """`seats` are taken now; `waiting` requests are in its queues, which are there once anybody had to wait.

    `begun` is how many seats were given in this turn of the event loop.
    """

    __slots__ = (
        "_seated", "assured", "begun", "is_exempt", "limits", "name", "queues", "seats", "service", "uid", "waiting",
    )  # fmt: skip

    def __init__(self, name: str, uid: str, limits: Limits) -> None:
        self.name = name
        self.seats = 0
        self.waiting = 0
        self.begun = 0
        self.service = 0.0
        self.queues: list[Queue] = []
        self._seated: dict[int, int] = {}  # seats that the flows have which had to wait for them
        self.set(uid, limits)

    def set(self, uid: str, limits: Limits) -> None:
        """New limits; those who wait go on waiting."""
        waiters = [waiter for queue in self.queues for waiter in queue.waiting]
        self.uid, self.limits = uid, limits
        self.is_exempt = limits.is_exempt
        self.assured = limits.nominal - limits.lendable
        if self.queues and len(self.queues) != limits.queues:
            self.queues = []
            self.waiting = 0
            for waiter in waiters:
                self._put(waiter)

    def enqueue(self, waiter: Waiter) -> bool:
        """Puts a request into the shortest queue of its hand; False when that queue is full."""
        queue = self._shortest(waiter.hash)
        if queue is None or len(queue.waiting) >= self.limits.length:
            return False
        queue.waiting.append(waiter)
        self.waiting += 1
        return True

    def leave(self, waiter: Waiter) -> None:
        """A request that waits no longer."""
        for queue in self.queues:
            if waiter in queue.waiting:
                queue.waiting.remove(waiter)
                self.waiting -= 1
                return

    def heads(self) -> list[tuple[Queue, Waiter]]:
        """The first of each queue; who is next is first."""
        queues = sorted((q for q in self.queues if q.waiting), key=lambda q: q.service)
        return [(queue, queue.waiting[0]) for queue in queues]

    def has_seat(self, waiter: Waiter) -> bool:
        """Whether others of the waiter's flow have one, as far as they had to wait for it."""
        return waiter.hash in self._seated

    def seat(self, queue: Queue) -> Waiter:
        """Gives the queue's first request its seats. What it will cost is guessed; `served` corrects it."""
        waiter = queue.waiting.popleft()
        self.waiting -= 1
        queue.service = max(queue.service, self.service)
        self.service = queue.service
        queue.service += waiter.seats * EXPECTED_SECONDS
        queue.executing += waiter.seats
        self._seated[waiter.hash] = self._seated.get(waiter.hash, 0) + waiter.seats
        return waiter

    def served(self, queue: Queue, waiter: Waiter, seconds: float) -> None:
        """A queued request ended after so long."""
        self.rose(queue, waiter)
        queue.service += waiter.seats * (seconds - EXPECTED_SECONDS)

    def rose(self, queue: Queue, waiter: Waiter) -> None:
        """It has its seats no more."""
        queue.executing -= waiter.seats
        left = self._seated.get(waiter.hash, 0) - waiter.seats
        if left > 0:
            self._seated[waiter.hash] = left
        else:
            self._seated.pop(waiter.hash, None)

    def _put(self, waiter: Waiter) -> None:
        queue = self._shortest(waiter.hash)
        if queue is None:
            waiter.seat.set_exception(TimeoutError("the level has no queues any more"))
            return
        queue.waiting.append(waiter)
        self.waiting += 1

    def _shortest(self, hash: int) -> Queue | None:
        if not self.queues:
            self.queues = [Queue() for _ in range(self.limits.queues)]
        hand = [self.queues[card] for card in deal(hash, len(self.queues), self.limits.hand)]
        return min(hand, key=lambda q: sum(w.seats for w in q.waiting) + q.executing, default=None)


def deal(hash: int, deck: int, hand: int) -> list[int]:
    """`hand` different cards of a deck, chosen by the hash."""
    cards: list[int] = []
    for dealt in range(min(hand, deck)):
        hash, card = divmod(hash, deck - dealt)
        for other in sorted(cards):
            if card >= other:
                card += 1
        cards.append(card)
    return cards


def flow_hash(schema: str, flow: str) -> int:
    """The same number for the same flow, in every process."""
    digest = hashlib.blake2b(f"{schema}\0{flow}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def limits(specs: dict[str, Tree], total: int) -> dict[str, Limits]:
    """The levels' limits out of their specs: `total` seats are shared out by their shares."""
    shares = {name: _shares(spec) for name, spec in specs.items()}
    whole = sum(shares.values()) or 1
    return {name: _limits(spec, math.ceil(total * shares[name] / whole), total) for name, spec in specs.items()}


def _shares(spec: Tree) -> int:
    if spec.get("type") == "Exempt":
        return int((spec.get("exempt") or {}).get("nominalConcurrencyShares") or 0)
    given = (spec.get("limited") or {}).get("nominalConcurrencyShares")
    return DEFAULT_SHARES if given is None else int(given)


def _limits(spec: Tree, nominal: int, total: int) -> Limits:
    is_exempt = spec.get("type") == "Exempt"
    given = spec.get("exempt" if is_exempt else "limited") or {}
    lendable = round(nominal * (given.get("lendablePercent") or 0) / 100)
    if is_exempt:
        return Limits(is_exempt=True, nominal=nominal, lendable=lendable)
    percent = given.get("borrowingLimitPercent")
    borrowing = total if percent is None else round(nominal * percent / 100)
    response = given.get("limitResponse") or {}
    if response.get("type") != "Queue":
        return Limits(nominal=nominal, lendable=lendable, borrowing=borrowing)
    queuing = response.get("queuing") or {}
    return Limits(
        nominal=nominal,
        lendable=lendable,
        borrowing=borrowing,
        queues=queuing.get("queues") or DEFAULT_QUEUES,
        hand=queuing.get("handSize") or DEFAULT_HAND,
        length=queuing.get("queueLengthLimit") or DEFAULT_LENGTH,
        spare=nominal // SPARE_PART,
    )
