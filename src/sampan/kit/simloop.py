"""Simloop: a private event loop in which time passes only when told to. Same calls, same history.

Ready callbacks run first in, first out; timers by time, then by age. There is no selector, no thread
and no socket: whatever needs one fails at once. Everything of asyncio that is built on callbacks and
timers works (tasks, futures, timeouts, locks, queues).
"""

import asyncio
import contextvars
import gc
import heapq
import logging
import math
import sys
from asyncio import events
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
Timers = list[tuple[float, int, asyncio.TimerHandle]]

MAX_CALLBACKS = 1_000_000  # at one instant; more than that is a loop that never ends
LULL_SECONDS = 15.0  # with nothing but pulses for longer than this, one round of them is enough
AWAKE_SECONDS = 1.0  # which comes so long before whatever ends the lull
YOUNG_OBJECTS = 50_000  # what a simulation makes are trees without cycles: looking for some is mostly in vain
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z

log = logging.getLogger(__name__)


class Stuck(Exception):
    """Nothing is left that could ever happen, or time ran out, before what was waited for."""


class _Handle(asyncio.Handle):
    """One that never asks whether it is to remember where it was made."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: Any, context: contextvars.Context | None) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None


class _TimerHandle(asyncio.TimerHandle):
    """The same of a timer."""

    __slots__ = ()

    def __init__(self, when: float, callback: Any, args: Any, loop: Any, context: contextvars.Context | None) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._when, self._scheduled = when, False


class SimLoop(asyncio.AbstractEventLoop):
    """Steps with `advance`, `run_until` and `run_until_complete`."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: Timers = []
        self._pulses: Timers = []
        self._watchdogs: Timers = []
        self.is_calm: Callable[[], bool] = lambda: False
        """Whether every pulse is sure to do what watchdogs wait for."""
        self._asides: Timers = []
        self._quiet: deque[Callable[[], None]] = deque()
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
            while (due := self._next_due(end)) is not None and due <= end:
                self._jump(due)
            self._now = end

    def settle(self) -> None:
        """Runs everything that happens at this instant; no time passes."""
        with self._current():
            self._drain()

    def next_due(self) -> float | None:
        """At what time of this loop the next timer is due; None when none is set."""
        return self._next_due(math.inf)

    def run_until(self, is_so: Callable[[], bool], limit_seconds: float = 3600.0) -> None:
        """Runs until the predicate holds (asked whenever nothing more happens at an instant). Raises Stuck."""
        end = self._now + limit_seconds
        with self._current():
            self._drain()
            while not is_so():
                due = self._next_due(end)
                if due is None:
                    raise Stuck(f"nothing is left to happen at {self._now:g} s")
                if due > end:
                    self._now = end
                    raise Stuck(f"still not so after {limit_seconds:g} s")
                self._jump(due)

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
        if self._closed:
            self._check_open()
        handle = _Handle(callback, args, self, context)
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
        return self._wait_in(self._timers, _TimerHandle(when, callback, args, self, context))

    def pulse_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """After so many seconds, or later, when nothing but pulses would happen until then: before what ends that."""
        return self._wait_in(self._pulses, _TimerHandle(self._now + delay, callback, args, self, None))

    def watchdog_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """After so many seconds, if pulses fail to come; while all is calm, later, after those that were left out."""
        return self._wait_in(self._watchdogs, _TimerHandle(self._now + delay, callback, args, self, None))

    def _wait_in(self, waiting: Timers, handle: asyncio.TimerHandle) -> asyncio.TimerHandle:
        if self._closed:
            self._check_open()
        self._sequence += 1
        heapq.heappush(waiting, (handle._when, self._sequence, handle))  # type: ignore[attr-defined]
        return handle

    def aside_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """Within so many seconds: signs of life for others, which nothing here waits for.

        They end no lull, and come together: when the time of this loop is a multiple of the delay.
        """
        when = (self._now // delay + 1) * delay
        return self._wait_in(self._asides, _TimerHandle(when, callback, args, self, None))

    def when_quiet(self, callback: Callable[[], None]) -> None:
        """Calls it once, when nothing else is left to happen at this instant."""
        self._quiet.append(callback)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> "asyncio.Task[T]":  # type: ignore[override]
        if self._closed:
            self._check_open()
        task = asyncio.Task(coro, loop=self, **options)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a world that is dropped is no mistake
        return task

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
        self._pulses.clear()
        self._watchdogs.clear()
        self._asides.clear()
        self._quiet.clear()

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

    def _next_due(self, end: float) -> float | None:
        """When something happens next."""
        due, aside = self._next_event(end), _first(self._asides)
        return due if aside is None else aside if due is None else min(due, aside)

    def _next_event(self, end: float) -> float | None:
        """The same without asides; what ends a lull is the next timer, or `end`."""
        timer, pulse, watchdog = _first(self._timers), _first(self._pulses), _first(self._watchdogs)
        if watchdog is not None and (pulse is None or not self.is_calm()):
            timer = watchdog if timer is None else min(timer, watchdog)
        if pulse is None:
            return timer
        ends = end if timer is None else min(timer, end)
        if math.isinf(ends):
            return pulse
        if ends - max(pulse, self._now) > LULL_SECONDS:
            pulse = ends - AWAKE_SECONDS
        return pulse if timer is None else min(timer, max(pulse, self._now))

    def _jump(self, due: float) -> None:
        """Goes to the time when something is due, and runs what happens then: timers, then pulses, then watchdogs."""
        self._now = max(self._now, due)
        aside, timer = _first(self._asides), _first(self._timers)
        if aside is not None and aside <= self._now and (timer is None or timer > self._now):
            self._take(self._asides)
            self._drain()
            return
        self._take(self._timers)
        is_signed = self._take(self._pulses)
        self._drain()
        if is_signed and self.is_calm():
            self._put_off()
        elif self._take(self._watchdogs):
            self._drain()

    def _put_off(self) -> None:
        """Watchdogs that are due bark a moment later, whatever comes: what they wait for may still be on its way."""
        while (when := _first(self._watchdogs)) is not None and when <= self._now:
            _, sequence, handle = heapq.heappop(self._watchdogs)
            heapq.heappush(self._timers, (self._now + AWAKE_SECONDS, sequence, handle))

    def _take(self, waiting: Timers) -> bool:
        """Makes ready what is due; whether there is anything."""
        taken = len(self._ready)
        while (when := _first(waiting)) is not None and when <= self._now:
            self._ready.append(heapq.heappop(waiting)[2])
        return len(self._ready) > taken

    def _drain(self) -> None:
        ready = self._ready
        for _ in range(MAX_CALLBACKS):
            if not ready:
                if not self._quiet:
                    return
                self._quiet.popleft()()
                continue
            handle = ready.popleft()
            if not handle._cancelled:  # as asyncio's own loop asks; once for each of hundreds of callbacks of a job
                try:
                    handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (as Handle does; others end the step)
                    what = f"Exception in callback {handle!r}"
                    self.call_exception_handler({"message": what, "exception": error, "handle": handle})
        raise Stuck(f"more than {MAX_CALLBACKS} callbacks at {self._now:g} s: something never stops")

    @contextmanager
    def _current(self) -> Iterator[None]:
        """This is the running loop of the thread."""
        self._check_open()
        if self._running:
            raise RuntimeError("the loop is being stepped already")
        hooks = sys.get_asyncgen_hooks()
        outer = events._get_running_loop()
        self._running = True
        _collect_seldom()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._drop_generator)
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
            self._running = False

    def _drop_generator(self, generator: Any) -> None:
        if not self._closed:
            self.call_soon(self.create_task, generator.aclose())

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the loop is closed")


def _collect_seldom() -> None:
    """For the rest of the process: to collect between two steps costs more than the steps."""
    young, *older = gc.get_threshold()
    if 0 < young < YOUNG_OBJECTS:
        gc.set_threshold(YOUNG_OBJECTS, *older)


def _first(waiting: Timers) -> float | None:
    """When the first of them is due, after dropping cancelled ones."""
    while waiting and waiting[0][2]._cancelled:
        heapq.heappop(waiting)
    return waiting[0][0] if waiting else None


class VirtualClock:
    """The time of a SimLoop as a Clock; `start` is the wall time at the loop's second 0."""

    monotonic: Callable[[], float]
    awake: Callable[[], float]

    def __init__(self, loop: SimLoop, start: float = START) -> None:
        self._loop = loop
        self._start = start
        self.monotonic = self.awake = loop.time  # asked several times in each request: no call of ours around it

    def now(self) -> float:
        return self._start + self._loop._now

    def jump(self, seconds: float) -> None:
        """Sets the wall clock forward, or back; how long anything takes stays the same."""
        self._start += seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def watchdog_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.watchdog_later(seconds, callback)

    async def pulse(self, seconds: float) -> None:
        future = self._loop.create_future()
        handle = self._loop.pulse_later(seconds, _wake, future)
        try:
            await future
        finally:
            handle.cancel()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
