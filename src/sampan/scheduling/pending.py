"""Pending: which pod to try next, and when to try again those that found no node. Pure.

By priority, then by age. A pod that found no node waits until something changes that may help it, and then its
back-off: 1 s, doubling to 10 s; but when there is nobody else to try, no back-off is waited for: one of each sort is
tried at once, and the next of them if that found a node. After five minutes a pod is tried in any case. One whose victims are being pushed out is held until that is done.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

import heapq
import logging
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from sampan.scheduling import extending
from sampan.scheduling.demand import Demand
from sampan.scheduling.hints import Helps

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 10.0
STALE_SECONDS = 300.0
NOBODY: frozenset[str] = frozenset()

Entry = tuple[float, int, str]  # due, order, uid


@dataclass(slots=True)
class Waiting:
    """One pod. `state` is ready, tried, failed, backing (off, after a change), erred (the same, after an error)."""

    demand: Demand
    order: int
    state: str = "ready"
    attempts: int = 0
    failed: float = 0.0
    due: float = 0.0
    refusers: frozenset[str] = NOBODY
    since: float = 0.0  # when it came
    is_held: bool = False
    is_early: bool = False  # tried before its back-off ended

    @property
    def is_alone(self) -> bool:
        """Whether it says nothing about others what helps this one: its claims for devices are its own."""
        return bool(self.demand.spec.get("resourceClaims"))

    @property
    def sort(self) -> Hashable:
        """The same for pods that the same changes help."""
        demand = self.demand
        if self.is_alone:
            return (demand.uid, self.refusers)
        return (demand.scheduler, demand.shape, demand.neighbours, demand.owner, demand.priority, self.refusers)


class Pending:
    """The pods without a node. Times are monotonic seconds, given."""

    def __init__(self, first: float = FIRST_BACKOFF_SECONDS, last: float = LAST_BACKOFF_SECONDS) -> None:
        self._first, self._last = first, last
        self._pods: dict[str, Waiting] = {}  # by uid
        self._failed: dict[Hashable, dict[str, Waiting]] = {}  # by sort
        self._woken: dict[Hashable, dict[str, Waiting]] = {}  # those backing off, by sort
        self._ready: list[tuple[int, int, str]] = []  # (-priority, order, uid); may hold stale entries
        self._due: list[Entry] = []  # of those that failed or erred; the same
        self._backing: list[Entry] = []  # of those that back off after a change; the same
        self._orders = 0

    def add(self, demand: Demand, now: float = 0.0) -> None:
        """A new pod, or one whose spec changed: to be tried at once. A known one keeps its place in the queue."""
        known = self._pods.get(demand.uid)
        if known is None:
            self._orders += 1
            known = self._pods[demand.uid] = Waiting(demand, self._orders, since=now)
        elif known.demand.is_like(demand) and known.demand.priority == demand.priority:
            known.demand.pod = demand.pod
            return
        self._leave(known)
        known.demand = demand
        self._make_ready(known)

    def continue_from(self, other: "Pending") -> None:
        """Pods known here that another one has tried wait as they did there; order is kept."""
        for uid, there in other._pods.items():
            here = self._pods.get(uid)
            if here is None or not here.demand.is_like(there.demand):
                continue
            here.attempts = there.attempts
            if there.is_held or there.state not in ("failed", "backing", "erred"):
                continue
            here.failed, here.refusers = there.failed, there.refusers
            self._wait(here, there.state, there.due)
            kept = {"failed": self._failed, "backing": self._woken}.get(here.state)
            if kept is not None:
                kept.setdefault(here.sort, {})[uid] = here

    def history(self, uid: str) -> tuple[int, float]:
        """How often a pod was tried, and since when it is known."""
        found = self._pods.get(uid)
        return (found.attempts, found.since) if found is not None else (0, 0.0)

    def counts(self) -> Counter[str]:
        """How many pods are in which queue, as upstream has them."""
        names = {"failed": "unschedulable", "backing": "backoff", "erred": "backoff", "ready": "active"}
        return Counter(names[each.state] for each in self._pods.values() if each.state in names)

    def refusals(self) -> Counter[tuple[str, str]]:
        """How many of those that failed were refused by a plugin: by (plugin, profile)."""
        failed = [each for each in self._pods.values() if each.state == "failed"]
        return Counter((plugin, each.demand.scheduler) for each in failed for plugin in each.refusers)

    def get(self, uid: str) -> Demand | None:
        """A pod that is known here."""
        found = self._pods.get(uid)
        return found.demand if found is not None else None

    def remove(self, uid: str) -> None:
        """The pod is gone, or has a node."""
        found = self._pods.pop(uid, None)
        if found is not None:
            self._leave(found)

    def pop(self, now: float) -> Demand | None:
        """The pod to try now, if any. It stays known until `remove` or `fail`."""
        self._release(now)
        found = self._pop_ready()
        is_early = found is None
        found = found or self._pop_early()
        if found is None:
            return None
        found.is_early = is_early
        found.state = "tried"
        found.attempts += 1
        return found.demand

    def fail(self, uid: str, now: float, refusers: frozenset[str] = NOBODY) -> None:
        """The attempt found no node, because of these plugins."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return
        self._leave(waiting)
        if waiting.is_early:
            self._calm(waiting.sort)
        waiting.refusers, waiting.failed = refusers, now
        self._wait(waiting, "failed", now + STALE_SECONDS)
        self._failed.setdefault(waiting.sort, {})[uid] = waiting

    def park(self, uid: str, now: float, refusers: frozenset[str]) -> None:
        """There was no attempt: these plugins wait for something. When it may be there, the pod is tried at once."""
        waiting = self._pods.get(uid)
        if waiting is not None:
            waiting.attempts = max(waiting.attempts - 1, 0)
            self.fail(uid, now, refusers)
            waiting.failed = now - self._last

    def err(self, uid: str, now: float) -> None:
        """The attempt went wrong: the pod comes back without a change, but not before its back-off."""
        waiting = self._pods.get(uid)
        if waiting is not None:
            self._leave(waiting)
            waiting.failed, waiting.is_held = now, False
            self._wait(waiting, "erred", now + self._backoff(waiting))

    def hold(self, uid: str, *, held: bool) -> None:
        """Whether the pod has to wait for something that we do for it."""
        waiting = self._pods.get(uid)
        if waiting is not None and waiting.is_held != held:
            waiting.is_held = held
            if not held and waiting.state == "ready":
                self._make_ready(waiting)

    def activate(self, uid: str) -> None:
        """The pod is to be tried at once."""
        waiting = self._pods.get(uid)
        if waiting is not None and waiting.state != "ready":
            self._leave(waiting)
            self._make_ready(waiting)

    def wake(self, now: float, helps: Helps | None = None) -> bool:
        """Something changed: those that it may help are tried again, each after its back-off. Says whether any."""
        sorts = list(self._failed.items())
        found = [s for s, w in sorts if helps is None or _ask(helps, w)]
        for sort in found:
            woken = self._failed.pop(sort)
            is_alone = any(waiting.is_alone for waiting in woken.values())
            if not is_alone:
                self._woken.setdefault(sort, {}).update(woken)
            for waiting in woken.values():
                due = max(now, waiting.failed + self._backoff(waiting))
                self._wait(waiting, "erred" if is_alone else "backing", due)
        return bool(found)

    def next_due(self) -> float | None:
        """When the next attempt is due, if none is now."""
        firsts = [heap[0][0] for heap in (self._due, self._backing) if self._tidy(heap)]
        return min(firsts, default=None)

    def __len__(self) -> int:
        return len(self._pods)

    def _pop_ready(self) -> Waiting | None:
        while self._ready:
            priority, order, uid = heapq.heappop(self._ready)
            waiting = self._pods.get(uid)
            if (
                waiting is None
                or waiting.state != "ready"
                or (-waiting.demand.priority, waiting.order) != (priority, order)
            ):
                continue  # its newer entry counts
            if not waiting.is_held:
                return waiting
        return None

    def _pop_early(self) -> Waiting | None:
        """The one whose back-off ends first: nobody else has to be tried."""
        held, found = [], None
        while found is None and self._tidy(self._backing):
            entry = heapq.heappop(self._backing)
            waiting = self._pods[entry[2]]
            if waiting.is_held:
                held.append(entry)
            else:
                found = waiting
                self._leave(found)
        for entry in held:
            heapq.heappush(self._backing, entry)
        return found

    def _release(self, now: float) -> None:
        for heap in (self._due, self._backing):
            while self._tidy(heap) and heap[0][0] <= now:
                waiting = self._pods[heapq.heappop(heap)[2]]
                self._leave(waiting)
                self._make_ready(waiting)

    def _tidy(self, heap: list[Entry]) -> bool:
        """Drops what is out of date at its head; says whether anything is left."""
        while heap:
            due, order, uid = heap[0]
            waiting = self._pods.get(uid)
            if waiting is not None and (waiting.due, waiting.order) == (due, order) and self._heap(waiting) is heap:
                return True
            heapq.heappop(heap)
        return False

    def _wait(self, waiting: Waiting, state: str, due: float) -> None:
        waiting.state, waiting.due = state, due
        heapq.heappush(self._backing if state == "backing" else self._due, (due, waiting.order, waiting.demand.uid))

    def _heap(self, waiting: Waiting) -> list[Entry] | None:
        return {"failed": self._due, "erred": self._due, "backing": self._backing}.get(waiting.state)

    def _calm(self, sort: Hashable) -> None:
        """One of the sort was tried early, in vain: the others wait for their back-off, or for the next change."""
        for uid, waiting in self._woken.pop(sort, {}).items():
            self._wait(waiting, "failed", waiting.due)
            self._failed.setdefault(sort, {})[uid] = waiting

    def _leave(self, waiting: Waiting) -> None:
        for state, kept in (("failed", self._failed), ("backing", self._woken)):
            if waiting.state == state and (some := kept.get(waiting.sort)) is not None:
                some.pop(waiting.demand.uid, None)
                if not some:
                    del kept[waiting.sort]

    def _make_ready(self, waiting: Waiting) -> None:
        waiting.state = "ready"
        heapq.heappush(self._ready, (-waiting.demand.priority, waiting.order, waiting.demand.uid))

    def _backoff(self, waiting: Waiting) -> float:
        return min(self._first * 2.0 ** min(max(waiting.attempts - 1, 0), 20), self._last)


def _ask(helps: Helps, some: dict[str, Waiting]) -> bool:
    """What may help against an extender nobody knows."""
    first = next(iter(some.values()))
    try:
        return extending.NAME in first.refusers or helps(first.demand, first.refusers)
    except Exception:
        log.exception("whether a change helps %s is not known", first.demand.uid)
        return True
