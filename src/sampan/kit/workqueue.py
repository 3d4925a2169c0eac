"""WorkQueue: keys to work on, each at most once at a time, with delays and back-off per key.

A key added while it waits is there once; added while it is being worked on, it comes again after
`done`. So a worker sees the latest state, and two workers never have the same key.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from sampan.kit.clock import Clock

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_SECONDS = 0.005
LAST_RETRY_SECONDS = 1000.0
LEAST_REST_SECONDS = 1e-6
FEW_STALE = 64


class QueueClosed(Exception):
    """The queue was closed; there is no more work."""


LEAST_SECONDS = 0.001
"""Less than that may be no time at all: what is due in as little would be due again and again at one instant."""


class WorkQueue(Generic[K]):
    """First in, first out. Bounded by the number of distinct keys.

    `adds` and `retries` count for metrics; `waited` and `worked` are told in seconds how long a key waited for its
    turn, and was worked on.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
        last_retry_seconds: float = LAST_RETRY_SECONDS,
    ) -> None:
        self._clock = clock
        self._first_retry_seconds = first_retry_seconds
        self._last_retry_seconds = last_retry_seconds
        self._ready: deque[K] = deque()
        self._wanted: set[K] = set()  # waiting in _ready, or to come again after done()
        self._working: set[K] = set()
        self._later: _Later[K] = _Later(clock, self.add, _call_later)
        self._watched: _Later[K] = _Later(clock, self.add, clock.watchdog_later)
        self._failures: dict[K, int] = {}
        self._resting: dict[K, float] = {}  # until when a key is left alone, by the monotonic clock
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._hire: Callable[[], None] | None = None
        self.adds = 0
        self.retries = 0
        self.waited: Callable[[float], None] | None = None
        self.worked: Callable[[float], None] | None = None
        self._since: dict[K, float] = {}  # when a key began to wait
        self._begun: dict[K, float] = {}  # when work on a key began

    def continue_from(self, other: "WorkQueue[K]") -> None:
        """Has to do what another one had to, at the same times."""
        self._failures, self._resting = dict(other._failures), dict(other._resting)
        for key in (*other._ready, *other._working):
            self.add(key)
        for key, due in other._later.due.items():
            self.add_after(key, due - self._clock.monotonic())
        for key, due in other._watched.due.items():
            self.add_after(key, due - self._clock.monotonic(), is_watchdog=True)

    def add(self, key: K) -> None:
        """The key is due now."""
        if self._closed or key in self._wanted or (key in self._resting and self._is_put_off(key)):
            return
        self._wanted.add(key)
        self.adds += 1
        if self.waited is not None:
            self._since[key] = self._clock.monotonic()
        if key not in self._working:
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: K, seconds: float, *, is_watchdog: bool = False) -> None:
        """The key is due in so many seconds, or sooner if it already was; a watchdog as in Clock.watchdog_later."""
        if seconds <= 0:
            self.add(key)
        elif not self._closed:
            (self._watched if is_watchdog else self._later).put(key, max(seconds, LEAST_SECONDS))

    def hurry(self) -> None:
        """What is due later is due now: the wall clock has jumped, and a time of day may be over for which a key waits."""
        self._later.hurry()

    async def get(self) -> K:
        """The next key, from now on being worked on. Raises QueueClosed."""
        while True:
            if self._closed:
                raise QueueClosed
            if self._ready:
                key = self._ready.popleft()
                self._wanted.discard(key)
                self._working.add(key)
                if self.waited is not None:
                    now = self._begun[key] = self._clock.monotonic()
                    self.waited(now - self._since.pop(key, now))
                return key
            await self._wait()

    def hire(self, hire: Callable[[], None]) -> None:
        """Has the first worker come when there is work, be it now."""
        if self._ready:
            hire()
        else:
            self._hire = hire

    def done(self, key: K, rest: float = 0.0) -> None:
        """The work on the key ended; it comes again if it was added meanwhile, but not in the next `rest` seconds."""
        self._working.discard(key)
        begun = self._begun.pop(key, None)
        if self.worked is not None and begun is not None:
            self.worked(self._clock.monotonic() - begun)
        if rest > 0:
            self._resting[key] = self._clock.monotonic() + rest
        if key in self._wanted and not self._closed:
            if rest > 0:
                self._wanted.discard(key)
                self._later.put(key, rest)
                return
            self._ready.append(key)
            self._wake_one()

    def retry(self, key: K) -> None:
        """The key comes again after a back-off that doubles with each retry until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        self.add_after(key, min(self._first_retry_seconds * 2 ** min(failures, 64), self._last_retry_seconds))

    def forget(self, key: K) -> None:
        """The key succeeded; its next back-off starts small again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How many retries the key has had since it was last forgotten."""
        return self._failures.get(key, 0)

    def close(self) -> None:
        """Ends every `get`; keys not handed out are dropped."""
        self._closed = True
        self._later.close()
        self._watched.close()
        while self._waiters:
            self._wake_one()

    def unfinished(self) -> list[float]:
        """For how many seconds each key is worked on by now; nothing where nobody asked to be told (`waited`)."""
        now = self._clock.monotonic()
        return [now - begun for begun in self._begun.values()]

    def __len__(self) -> int:
        return len(self._ready)

    def _is_put_off(self, key: K) -> bool:
        """Whether the key rests still, and comes when that is over."""
        left = self._resting[key] - self._clock.monotonic()
        if left < LEAST_REST_SECONDS:
            del self._resting[key]
            return False
        self._later.put(key, left)
        return True

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_one()  # the wake-up was ours; somebody else must have it
            else:
                self._waiters.remove(waiter)
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        if self._hire is not None:
            hire, self._hire = self._hire, None
            hire()


class _Later(Generic[K]):
    """Keys that are due later, each at its earliest time; `call_later` calls back at the first of them."""

    def __init__(
        self,
        clock: Clock,
        release: Callable[[K], None],
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
    ) -> None:
        self._clock = clock
        self._release_one = release
        self._call_later = call_later
        self.due: dict[K, float] = {}
        self._delayed: list[tuple[float, int, K]] = []  # may hold stale entries
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, key: K, seconds: float) -> None:
        """In so many seconds, or sooner if it already was."""
        due = self._clock.monotonic() + seconds
        if self.due.get(key, due + 1) <= due:
            return
        self.due[key] = due
        self._sequence += 1
        heapq.heappush(self._delayed, (due, self._sequence, key))
        if self._delayed[0][2] is key:
            self._arm()
        if len(self._delayed) > 2 * len(self.due) + FEW_STALE:
            self._delayed = [entry for entry in self._delayed if self.due.get(entry[2]) == entry[0]]
            heapq.heapify(self._delayed)

    def hurry(self) -> None:
        """All are due now, in their order."""
        ahead, self._delayed, self.due = self.due, [], {}
        self.close()
        for key in sorted(ahead, key=lambda key: ahead[key]):
            self._release_one(key)

    def close(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        """Has the loop call back at the earliest due time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._delayed:
            seconds = max(self._delayed[0][0] - self._clock.monotonic(), 0.0)
            self._timer = self._call_later(seconds, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            due, _, key = heapq.heappop(self._delayed)
            if self.due.get(key) == due:
                del self.due[key]
                self._release_one(key)
        self._arm()


def _call_later(seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, callback)
