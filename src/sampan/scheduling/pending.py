"""Pending: which pod to try next, and when to try again those that found no node. Pure.

By priority, then by age. A pod that found no node waits until something changed that could help it,
and at least its back-off: 1 s, doubling to 10 s. After five minutes it is tried in any case.
"""

import heapq
from dataclasses import dataclass

from sampan.scheduling.demand import Demand

FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 10.0
STALE_SECONDS = 300.0


@dataclass(slots=True)
class Waiting:
    """One pod. `due` is the time of the next attempt after a failed one."""

    demand: Demand
    order: int
    attempts: int = 0
    failed: float = 0.0
    due: float = 0.0
    is_ready: bool = False


class Pending:
    """The pods without a node. Times are monotonic seconds, given."""

    def __init__(self) -> None:
        self._pods: dict[str, Waiting] = {}  # by uid
        self._failed: dict[str, Waiting] = {}  # those of them that wait for their due time
        self._ready: list[tuple[int, int, str]] = []  # (-priority, order, uid); may hold stale entries
        self._orders = 0

    def add(self, demand: Demand) -> None:
        """A new pod, or one whose spec changed: to be tried at once. A known one keeps its place in the queue."""
        known = self._pods.get(demand.uid)
        if known is not None and known.demand.shape == demand.shape and known.demand.priority == demand.priority:
            known.demand = demand
            return
        if known is None:
            self._orders += 1
            known = self._pods[demand.uid] = Waiting(demand, self._orders)
        known.demand = demand
        self._make_ready(known)

    def remove(self, uid: str) -> None:
        """The pod is gone, or has a node."""
        self._pods.pop(uid, None)
        self._failed.pop(uid, None)

    def pop(self, now: float) -> Demand | None:
        """The pod to try now, if any. It stays known until `remove` or `fail`."""
        self._release(now)
        while self._ready:
            priority, order, uid = heapq.heappop(self._ready)
            waiting = self._pods.get(uid)
            if waiting is None or not waiting.is_ready or waiting.order != order:
                continue
            if -priority != waiting.demand.priority:
                continue  # its newer entry counts
            waiting.is_ready = False
            waiting.attempts += 1
            return waiting.demand
        return None

    def fail(self, uid: str, now: float, *, again: bool = False) -> None:
        """The attempt found no node. With `again` (an error, not a lack) it comes back without a change."""
        waiting = self._pods.get(uid)
        if waiting is not None:
            self._failed[uid] = waiting
            waiting.failed = now
            waiting.due = now + (self._backoff(waiting) if again else STALE_SECONDS)

    def wake(self, now: float) -> None:
        """Something changed that may help: all are tried again, each after its back-off."""
        for waiting in self._failed.values():
            waiting.due = min(waiting.due, max(now, waiting.failed + self._backoff(waiting)))

    def next_due(self) -> float | None:
        """When the next attempt is due, if none is now."""
        return min((waiting.due for waiting in self._failed.values()), default=None)

    def __len__(self) -> int:
        return len(self._pods)

    def _release(self, now: float) -> None:
        for waiting in [waiting for waiting in self._failed.values() if waiting.due <= now]:
            self._make_ready(waiting)

    def _make_ready(self, waiting: Waiting) -> None:
        waiting.is_ready = True
        self._failed.pop(waiting.demand.uid, None)
        heapq.heappush(self._ready, (-waiting.demand.priority, waiting.order, waiting.demand.uid))

    def _backoff(self, waiting: Waiting) -> float:
        return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(max(waiting.attempts - 1, 0), 10), LAST_BACKOFF_SECONDS)
