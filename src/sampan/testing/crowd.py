"""Crowd: the threads that virtual time waits for: which are at work, and what the others wait for.

A member is either at work or in a wait that is known here. While the count of steps stays the same nobody
has done anything, so "all wait, and nothing has come for any of them" is a fact and not a guess.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import FrameType

from sampan.testing.bell import Bell

EARLY_SECONDS = 1e-9  # an event loop's timers are due that early too


@dataclass(frozen=True, slots=True)
class Wait:
    """What a thread waits for. `due` is the virtual time at which it goes on in any case; None: never.

    `has_come` must be true from the moment on at which it is clear that the thread will go on, however long
    the system then takes to let it. `wake` makes the thread look at the time.
    """

    has_come: Callable[[], bool]
    due: float | None
    wake: Callable[[], None]


class Crowd:
    """Its members, by thread. `steps` counts what they begin and end.

    `bell` rings when one of them stops working, and with that all are still or what is `awaited` has come: until then
    whoever lets time pass has nothing to do, and each change between threads costs more than a piece of their work.
    """

    def __init__(self) -> None:
        self.bell = Bell()
        self.awaited: Callable[[], bool] = lambda: False
        self._lock = threading.Lock()
        self._waits: dict[Thread, Wait | None] = {}
        self._farewells: dict[Thread, list[Callable[[], None]]] = {}
        self.steps = 0

    def __contains__(self, thread: Thread) -> bool:
        return thread in self._waits

    def join(self, thread: Thread) -> bool:
        """A new member, at work. False when it was one."""
        with self._lock:
            is_new = thread not in self._waits
            self._waits.setdefault(thread, None)
            self.steps += 1
        return is_new

    def leave(self, thread: Thread) -> None:
        """Nobody waits for what it does from now on."""
        with self._lock:
            self._waits.pop(thread, None)
            farewells = self._farewells.pop(thread, [])
            self.steps += 1
        for farewell in farewells:
            farewell()
        self.bell.ring()

    def when_left(self, thread: Thread, farewell: Callable[[], None]) -> None:
        """Calls it when the thread leaves; at once when it is no member."""
        with self._lock:
            is_member = thread in self._waits
            if is_member:
                self._farewells.setdefault(thread, []).append(farewell)
        if not is_member:
            farewell()

    def dissolve(self) -> None:
        """All leave, and whoever waits goes on in real time."""
        with self._lock:
            members, waits = list(self._waits), list(self._waits.values())
            self._waits.clear()
        for thread in members:
            self.leave(thread)
        for wait in waits:
            if wait is not None:
                wait.wake()

    @contextlib.contextmanager
    def waiting(self, wait: Wait) -> Iterator[None]:
        """The calling thread, a member, waits; it does nothing else meanwhile."""
        thread = threading.current_thread()
        self._set(thread, wait)
        if self.awaited() or self.is_still():
            self.bell.ring()
        try:
            yield
        finally:
            self._set(thread, None)

    def is_still(self) -> bool:
        """Whether every member waits and nothing has come for anyone."""
        with self._lock:
            before, waits = self.steps, list(self._waits.values())
        return not any(wait is None or wait.has_come() for wait in waits) and before == self.steps

    def next_due(self) -> float | None:
        """The virtual time at which the first member goes on."""
        return min((wait.due for wait in self._known() if wait.due is not None), default=None)

    def wake_next(self, now: float) -> None:
        """Wakes the one whose time has come first, if it has; of several at one time the one that has waited longest."""
        waits = [wait for wait in self._known() if wait.due is not None and wait.due <= now + EARLY_SECONDS]
        if waits:
            min(waits, key=lambda wait: wait.due or 0.0).wake()

    def at_work(self) -> list[str]:
        """Who works, and where in the code."""
        with self._lock:
            waits = dict(self._waits)
        frames = sys._current_frames()
        return [
            f"{thread.name} at {_place(frames.get(thread.ident or 0))}"
            for thread, wait in waits.items()
            if wait is None or wait.has_come()
        ]

    def _known(self) -> list[Wait]:
        with self._lock:
            return [wait for wait in self._waits.values() if wait is not None]

    def _set(self, thread: Thread, wait: Wait | None) -> None:
        with self._lock:
            if thread in self._waits:
                del self._waits[thread]  # the order is that of the last change
                self._waits[thread] = wait
                self.steps += 1


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "its start"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
