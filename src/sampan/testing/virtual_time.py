"""Virtual time: the cluster's time is that of all other code in this process too.

    with VirtualTime(sim, bridge), KopfRunner(["run", "-A", "operator.py"]):
        ...

Time stands still until every thread that counts waits and nothing has come for any of them: then it jumps to
the next thing that is due, in the cluster or in foreign code. It is the thread that began it which lets time
pass, whenever it waits itself: in `advance` and `run_until`, but also in time.sleep, for a future, for an answer
of the cluster, or in its event loop. Threads count that were started since, and those that run a LinkedLoop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from sampan.cluster.simulated import SimulatedCluster
from sampan.kit.simloop import Stuck
from sampan.testing import link, linked_loop, waits, wall_clock
from sampan.testing.bell import Bell, Gate, is_readable
from sampan.testing.bridge import LAG_SECONDS, Bridge
from sampan.testing.crowd import EARLY_SECONDS, Crowd, Wait
from sampan.testing.linked_loop import LinkedLoop

T = TypeVar("T")

GUARD_SECONDS = 60.0
"""Real time after which what should have come never will."""
LEAP_SECONDS = 3600.0


class Standstill(RuntimeError):
    """Time cannot pass, as somebody works who should wait, or nothing comes of what is waited for."""


class VirtualTime:
    """A context manager, for one thread and one cluster at a time."""

    def __init__(self, sim: SimulatedCluster, bridge: Bridge | None = None) -> None:
        self.crowd = Crowd()
        self._sim = sim
        self._bridge = bridge
        self._owner: Thread | None = None
        self._undo = contextlib.ExitStack()
        self._own = threading.local()

    def __enter__(self) -> Self:
        """Raises RuntimeError where time cannot become virtual."""
        _check_linked(asyncio._get_running_loop())
        self._owner = threading.current_thread()
        with contextlib.ExitStack() as undo:
            undo.enter_context(wall_clock.shown(self._sim.clock.now))
            if self._bridge is not None:
                undo.enter_context(self._bridge.unpaced())
            undo.callback(self.crowd.dissolve)
            link.attach(self)
            undo.callback(link.detach)
            undo.enter_context(waits.patched())
            undo.enter_context(linked_loop.installed())
            self._undo = undo.pop_all()
        for loop, thread in linked_loop.running():
            if thread is not self._owner:
                self.crowd.join(thread)
                loop.look_again()
        for thread, gate in list(waits.asleep.items()):
            self.crowd.join(thread)
            gate.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()
        for loop, _ in linked_loop.running():
            loop.look_again()

    def advance(self, seconds: float) -> None:
        """Lets that much time pass, here and in the cluster."""
        self._conduct(lambda: False, seconds)

    def run_until(self, is_so: Callable[[], Any], within: float) -> None:
        """Lets time pass until the condition holds. Raises Stuck when it does not within so many seconds."""
        end = self.time() + within
        self.advance(0)
        while not is_so():
            if end - self.time() <= EARLY_SECONDS:
                raise Stuck(f"still not so after {within:g} s")
            self._step(end, once=True)
            self.advance(0)

    # What waits elsewhere ask for

    def time(self) -> float:
        return self._sim.time

    def governs(self, thread: Thread) -> bool:
        return thread is self._owner or thread in self.crowd

    def wait_gate(self, gate: Gate, seconds: float | None) -> bool:
        if threading.current_thread() is self._owner:
            self._conduct(lambda: gate.has_come, seconds)
        else:
            gate.close()
            with self.crowd.waiting(Wait(lambda: gate.is_open, self._due(seconds), gate.open)):
                gate.wait()
        return gate.has_come

    def wait_readable(self, descriptor: int, seconds: float | None) -> None:
        if threading.current_thread() is self._owner:
            self._conduct(lambda: is_readable(descriptor), seconds, descriptor)
            return
        bell = self._bell()
        has_come = lambda: is_readable(descriptor) or bell.rings()  # noqa: E731
        with self.crowd.waiting(Wait(has_come, self._due(seconds), bell.ring)):
            bell.listen(descriptor)
        bell.silence()

    def wait_call(self, call: Callable[[], T], has_come: Callable[[], bool]) -> T:
        if threading.current_thread() is self._owner:
            self._conduct(has_come, None)
            return call()
        with self.crowd.waiting(Wait(has_come, None, lambda: None)):
            return call()

    def wait_outside(self, call: Callable[[], T]) -> T:
        """In a member's thread it is work."""
        if threading.current_thread() is not self._owner:
            return call()
        done = waits.beside(call)
        done.add_done_callback(lambda _: self.crowd.bell.ring())
        before = link.real_monotonic()
        while not done.done():
            self.crowd.bell.listen(seconds=LAG_SECONDS)
            passed, before = link.real_monotonic() - before, link.real_monotonic()
            self._conduct(done.done, passed)
        return done.result()

    # How time passes

    def _conduct(self, has_come: Callable[[], bool], seconds: float | None, descriptor: int | None = None) -> None:
        """Lets time pass until it has come, or so many seconds. Raises Standstill after the guard's time."""
        due = self._due(seconds)
        patience = link.real_monotonic() + GUARD_SECONDS
        self.crowd.awaited = has_come
        while True:
            self.crowd.bell.silence()
            if has_come():
                return
            if not self.crowd.is_still():
                self._listen(descriptor, patience)
                continue
            if due is not None and due - self.time() <= EARLY_SECONDS:
                return
            if due is None and self.crowd.next_due() is None and self.crowd.bell.listen(descriptor, LAG_SECONDS):
                continue  # a busy system may take a while to deliver what was sent
            self._step(due)
            if due is not None:
                patience = link.real_monotonic() + GUARD_SECONDS
            elif link.real_monotonic() > patience:
                raise Standstill(f"what was waited for has not come; meanwhile it is {self.time():g} s")

    def _step(self, due: float | None, *, once: bool = False) -> None:
        """Goes to the next thing in foreign code, but only until the cluster has something for it; or one instant."""
        now = self.time()
        dues = [time for time in (due, self.crowd.next_due()) if time is not None]
        seconds = max(min(dues, default=now + LEAP_SECONDS) - now, 0.0)
        asked, before = 0, self.crowd.steps

        def is_enough() -> bool:
            nonlocal asked
            asked += 1
            return (once and asked > 1) or self.crowd.steps != before or not self.crowd.is_still()

        try:
            self._sim.run_until(is_enough, seconds)
        except Stuck:
            self._sim.advance(max(now + seconds - self.time(), 0.0))
        self.crowd.wake_next(self.time())

    def _listen(self, descriptor: int | None, patience: float) -> None:
        if not self.crowd.bell.listen(descriptor, patience - link.real_monotonic()):
            at_work = ", ".join(self.crowd.at_work()) or "nobody any more"
            raise Standstill(
                f"time stands still at {self.time():g} s for {GUARD_SECONDS:g} real seconds; at work: {at_work}"
            )

    def _due(self, seconds: float | None) -> float | None:
        return None if seconds is None else self.time() + max(seconds, 0.0)

    def _bell(self) -> Bell:
        """The calling thread's own."""
        bell: Bell | None = getattr(self._own, "bell", None)
        if bell is None:
            bell = self._own.bell = Bell()
        return bell


def _check_linked(loop: asyncio.AbstractEventLoop | None) -> None:
    if loop is not None and not isinstance(loop, LinkedLoop):
        raise RuntimeError(
            "the event loop that runs here cannot be in virtual time: run it within `virtual_time()`, not around it"
        )
