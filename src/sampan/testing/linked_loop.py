"""LinkedLoop: an ordinary event loop with sockets and threads, whose time is virtual while there is a virtual time.

With nothing ready it never waits for a timer in real time: it says when the timer is due, and goes on when
virtual time gets there, or when there is something to read.
"""

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

from sampan.testing import link
from sampan.testing.crowd import Wait

_running: dict["LinkedLoop", Thread] = {}
_places: dict[Any, Any] = {}  # where event loops are made, and by what when nobody asks for linked ones
_askers: list[None] = []
Events = list[tuple[selectors.SelectorKey, int]]


class LinkedLoop(asyncio.SelectorEventLoop):
    """`has_real_time` keeps timers in real time: virtual time then only waits until the loop has done its work."""

    def __init__(self, *, has_real_time: bool = False) -> None:
        self._has_real_time = has_real_time
        super().__init__(_Selector(self._wait))

    def time(self) -> float:
        return link.real_monotonic() if self._has_real_time else link.monotonic()

    def run_forever(self) -> None:
        """Its thread is waited for, as long as it runs."""
        thread = threading.current_thread()
        _running[self] = thread
        active = link.active()
        if active is not None and not active.governs(thread):
            active.crowd.join(thread)
        try:
            super().run_forever()
        finally:
            _running.pop(self, None)
            if thread not in link.started:
                link.leave(thread)

    def close(self) -> None:
        """Connections that were left open end now, and not at whatever time the garbage collector finds them."""
        left = list(getattr(self, "_transports", {}).values())
        if left and not self.is_closed() and not self.is_running():
            for transport in left:
                transport.abort()
            self.call_soon(self.stop)
            super().run_forever()
        super().close()

    def _wait(self, poll: Callable[[float | None], Events], descriptor: int, seconds: float | None) -> Events:
        """What is ready, as soon as anything is, or the time is over."""
        governing = link.governing(threading.current_thread())
        if governing is None:
            return poll(seconds)
        if ready := poll(0):
            return ready
        if not self._has_real_time:
            governing.wait_readable(descriptor, seconds)
            return poll(0)
        with governing.crowd.waiting(Wait(lambda: bool(poll(0)), None, _nothing)):
            return poll(seconds)

    def look_again(self) -> None:
        """Its idea of the time is not true any more."""
        with contextlib.suppress(RuntimeError):  # it was closed meanwhile
            self.call_soon_threadsafe(_nothing)


class _Selector(selectors.DefaultSelector):
    """Leaves the waiting to somebody else."""

    def __init__(self, wait: Callable[..., Events]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> Events:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        return self._wait(super().select, self.fileno(), timeout)


def running() -> list[tuple[LinkedLoop, Thread]]:
    """The loops that run now, and where."""
    return list(_running.items())


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """New event loops are linked ones: of asyncio.run, asyncio.Runner, asyncio.new_event_loop and pytest-asyncio.

    Several may overlap and end in any order; after the last one all is as before the first.
    """
    if not _places:
        _places.update({module: module.new_event_loop for module in (asyncio, asyncio.events)})
        for module in _places:
            module.new_event_loop = LinkedLoop
    _askers.append(None)
    try:
        yield
    finally:
        _askers.pop()
        if not _askers:
            for module, before in _places.items():
                module.new_event_loop = before
            _places.clear()


def _nothing() -> None:
    """What wakes a loop."""
