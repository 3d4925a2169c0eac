"""Simloop: a private event loop in which time passes only when told to. Same calls, same history.

Ready callbacks run first in, first out; timers by time, then by age. There is no selector, no thread
and no socket: whatever needs one fails at once. Everything of asyncio that is built on callbacks and
timers works (tasks, futures, timeouts, locks, queues).
"""

import asyncio
import contextvars
import heapq
import logging
import sys
from asyncio import events
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

MAX_CALLBACKS = 1_000_000  # at one instant; more than that is a loop that never ends
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z

log = logging.getLogger(__name__)


class Stuck(Exception):
    """Nothing is left that could ever happen, or time ran out, before what was waited for."""


class SimLoop(asyncio.AbstractEventLoop):
    """Steps with `advance`, `run_until` and `run_until_complete`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._sequence = 0
        self._closed = False
        self._running = False
        self._failures: list[dict[str, Any]] = []
        self._task_factory: Any = None

    def advance(self, seconds: float) -> None:
        """Runs everything that happens in the next so many seconds, in order."""
        end = self._now + seconds
        with self._current():
            self._drain()
            while self._next_timer() is not None and self._timers[0][0] <= end:
                self._jump()
            self._now = end

    def run_until(self, is_so: Callable[[], bool], limit_seconds: float = 3600.0) -> None:
        """Runs until the predicate holds (asked whenever nothing more happens at an instant). Raises Stuck."""
        end = self._now + limit_seconds
        with self._current():
            self._drain()
            while not is_so():
                due = self._next_timer()
                if due is None:
                    raise Stuck(f"nothing is left to happen at {self._now:g} s")
                if due > end:
                    raise Stuck(f"still not so after {limit_seconds:g} s")
                self._jump()

    def run_until_complete(self, future: Awaitable[T]) -> T:  # type: ignore[override]
        """Runs until the awaitable is done and returns its result."""
        task = asyncio.ensure_future(future, loop=self)
        self.run_until(task.done, limit_seconds=float("inf"))
        return task.result()

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """At this instant, after everything that is ready already."""
        self._check_open()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """After so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """At that time of this loop."""
        self._check_open()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> "asyncio.Task[T]":  # type: ignore[override]
        self._check_open()
        return asyncio.Task(coro, loop=self, **options)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Drops everything that was still to happen."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A failure that nobody awaited: kept in `failures` and logged."""
        self._failures.append(context)
        log.error("%s", context.get("message"), exc_info=context.get("exception"))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """What went wrong without anybody noticing."""
        return self._failures

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators are closed as they are dropped."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there are no threads."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by TimerHandle; cancelled timers are dropped when they come up."""

    def _next_timer(self) -> float | None:
        """When the next timer is due, after dropping cancelled ones."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _jump(self) -> None:
        """Goes to the next timer's time and runs what happens then."""
        when, _, handle = heapq.heappop(self._timers)
        self._now = max(self._now, when)
        self._ready.append(handle)
        while (due := self._next_timer()) is not None and due <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])
        self._drain()

    def _drain(self) -> None:
        for _ in range(MAX_CALLBACKS):
            if not self._ready:
                return
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 (what a loop is for)
        raise Stuck(f"more than {MAX_CALLBACKS} callbacks at {self._now:g} s: something never stops")

    @contextmanager
    def _current(self) -> Iterator[None]:
        """This is the running loop of the thread."""
        self._check_open()
        if self._running:
            raise RuntimeError("the loop is being stepped already")
        hooks = sys.get_asyncgen_hooks()
        outer = events._get_running_loop()  # noqa: SLF001 (the documented hook for loops)
        self._running = True
        sys.set_asyncgen_hooks(finalizer=self._drop_generator)
        events._set_running_loop(self)  # noqa: SLF001
        try:
            yield
        finally:
            events._set_running_loop(outer)  # noqa: SLF001
            sys.set_asyncgen_hooks(*hooks)
            self._running = False

    def _drop_generator(self, generator: Any) -> None:
        if not self._closed:
            self.call_soon(self.create_task, generator.aclose())

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the loop is closed")


class VirtualClock:
    """The time of a SimLoop as a Clock; `start` is the wall time at the loop's second 0."""

    def __init__(self, loop: SimLoop, start: float = START) -> None:
        self._loop = loop
        self._start = start

    def now(self) -> float:
        return self._start + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
