"""Link: the one virtual time that this process may be under, and the monotonic time that follows from it.

Event loops and threads of foreign code ask here. Their time never goes back: where virtual time begins,
and where it ends, it goes on from what it was.
"""

from collections.abc import Callable
from threading import Thread
from typing import Protocol, TypeVar
from weakref import WeakSet

from sampan.kit.clock import SystemClock
from sampan.testing.bell import Gate
from sampan.testing.crowd import Crowd

T = TypeVar("T")

real_monotonic = SystemClock.monotonic


class Link(Protocol):
    """What virtual time offers to those who live in it."""

    crowd: Crowd

    def time(self) -> float:
        """Virtual seconds."""
        ...

    def governs(self, thread: Thread) -> bool:
        """Whether the thread lives in virtual time."""
        ...

    def wait_gate(self, gate: Gate, seconds: float | None) -> bool:
        """Waits until the gate is released, or so many virtual seconds; whether it was released."""
        ...

    def wait_readable(self, descriptor: int, seconds: float | None) -> None:
        """Waits until there is something to read, or so many virtual seconds."""
        ...

    def wait_call(self, call: Callable[[], T], has_come: Callable[[], bool]) -> T:
        """The result of a call that waits as long as `has_come` is false."""
        ...

    def wait_outside(self, call: Callable[[], T]) -> T:
        """The result of a call that waits for something in real time."""
        ...


started: WeakSet[Thread] = WeakSet()
"""Threads that are waited for until they end, not only as long as they run a loop."""

_active: Link | None = None
_source: tuple[Callable[[], float], float] = (real_monotonic, 0.0)


def active() -> Link | None:
    """The virtual time there is."""
    return _active


def governing(thread: Thread) -> Link | None:
    """The virtual time that the thread lives in."""
    return _active if _active is not None and _active.governs(thread) else None


def leave(thread: Thread) -> None:
    """Nobody waits for what the thread does from now on."""
    if _active is not None:
        _active.crowd.leave(thread)


def ring() -> None:
    """Makes virtual time look whether it can go on."""
    if _active is not None:
        _active.crowd.bell.ring()


def monotonic() -> float:
    """What foreign event loops are told."""
    clock, offset = _source
    return clock() + offset


def attach(link: Link) -> None:
    """Virtual time begins. Raises RuntimeError when there is one already."""
    global _active, _source  # noqa: PLW0603 (a process has one)
    if _active is not None:
        raise RuntimeError("time is virtual in this process already: it can follow only one cluster at a time")
    _source = (link.time, monotonic() - link.time())
    _active = link


def detach() -> None:
    """Real time goes on."""
    global _active, _source  # noqa: PLW0603
    _source = (real_monotonic, monotonic() - real_monotonic())
    _active = None
