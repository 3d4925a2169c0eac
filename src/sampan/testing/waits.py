"""Waits: the standard library's ways to wait, so that threads which live in virtual time wait in it.

That is: time.sleep, everything of threading and queue that is built on Condition (Event, Semaphore, Queue,
Future.result), Thread.join, the queues of thread pools, reading from TLS sockets, processes; and time.monotonic.
All other threads wait as ever. A thread that is started by one that lives in virtual time lives there too.
What waits elsewhere in C (a bare lock, a plain socket) counts as work.
"""

import contextlib
import functools
import math
import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from subprocess import Popen
from threading import Condition, Thread
from types import GenericAlias
from typing import Any, TypeVar

from sampan.testing import link, wall_clock
from sampan.testing.bell import Gate

T = TypeVar("T")

_monotonic: Callable[[], float] = time.monotonic
_sleep: Callable[[float], None] = time.sleep
_SimpleQueue: Any = queue.SimpleQueue
_condition_wait = Condition.wait
_start, _join = Thread.start, Thread.join
_read: Any = ssl.SSLSocket.read


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Puts them in their places, and back."""
    places: list[tuple[Any, str, Any]] = [
        (queue, "SimpleQueue", CountedQueue),
        (Condition, "wait", wait),
        (Thread, "start", start),
        (Thread, "join", join),
        (ssl.SSLSocket, "read", read),
        (Popen, "wait", _outside(Popen.wait)),
        (Popen, "communicate", _outside(Popen.communicate)),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, ours in places:
        setattr(owner, name, ours)
    try:
        with wall_clock.taken(time, {"sleep": sleep, "monotonic": monotonic}):
            yield
    finally:
        for owner, name, theirs in before:
            setattr(owner, name, theirs)


def monotonic() -> float:
    """time.monotonic."""
    return link.monotonic() if link.governing(threading.current_thread()) else _monotonic()


def sleep(seconds: float) -> None:
    """time.sleep."""
    if seconds <= 0 or link.governing(threading.current_thread()) is None:
        _sleep(seconds)
    else:
        _await(Gate(link.ring), seconds)


def wait(self: Any, timeout: float | None = None) -> bool:
    """Condition.wait, with a gate among its waiters."""
    if (timeout is not None and timeout <= 0) or link.governing(threading.current_thread()) is None:
        return _condition_wait(self, timeout)
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    gate = Gate(link.ring)
    self._waiters.append(gate)
    state = self._release_save()
    has_come = False
    try:
        has_come = _await(gate, timeout)
    finally:
        self._acquire_restore(state)
        if not has_come:
            with contextlib.suppress(ValueError):
                self._waiters.remove(gate)
    return has_come


asleep: dict[Thread, Gate] = {}
"""Threads that began to wait in virtual time which has ended since: the next one lets them in again."""


def _await(gate: Gate, seconds: float | None) -> bool:
    """Whether it was released within so many seconds: virtual ones while there are such, else real ones."""
    thread = threading.current_thread()
    left = math.inf if seconds is None else seconds
    while left > 0 and not gate.has_come:
        governing = link.governing(thread)
        clock = governing.time if governing else _monotonic
        began = clock()
        limit = None if math.isinf(left) else left
        if governing is not None:
            if governing.wait_gate(gate, limit) or link.active() is governing:
                break
        else:
            asleep[thread] = gate
            gate.wait(limit)
            asleep.pop(thread, None)
        left -= clock() - began
    return gate.has_come


def start(self: Thread) -> None:
    """Thread.start: the new thread is waited for from now on."""
    governing = link.governing(threading.current_thread())
    if governing is None:
        _start(self)
        return
    run = self.run

    def counted() -> None:
        try:
            run()
        finally:
            link.leave(self)

    self.run = counted  # type: ignore[method-assign]
    governing.crowd.join(self)
    link.started.add(self)
    try:
        _start(self)
    except BaseException:
        link.leave(self)
        raise


def join(self: Thread, timeout: float | None = None) -> None:
    """Thread.join."""
    governing = link.governing(threading.current_thread())
    if governing is not None and self in governing.crowd and self is not threading.current_thread():
        gate = Gate(link.ring)
        governing.crowd.when_left(self, gate.release)  # also when virtual time ends
        if not governing.wait_gate(gate, timeout):
            return
    _join(self, timeout)


def _outside(theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Popen.wait or Popen.communicate: other processes live in real time, which virtual time then follows."""

    def wait_process(self: Any, *arguments: Any, **options: Any) -> Any:
        governing = link.governing(threading.current_thread())
        call = functools.partial(theirs, self, *arguments, **options)
        return call() if governing is None else governing.wait_outside(call)

    return wait_process


def beside(call: Callable[[], T]) -> Future[T]:
    """Runs it in a thread of real time."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
            done.set_exception(error)

    _start(Thread(target=run, daemon=True))
    return done


def read(self: Any, *arguments: Any) -> Any:
    """SSLSocket.read, on which its other ways to read are built. A socket's timeout is virtual."""
    seconds = self.gettimeout()
    governing = link.governing(threading.current_thread())
    if governing is None or seconds == 0 or self._sslobj is None:
        return _read(self, *arguments)
    due = None if seconds is None else governing.time() + seconds
    while link.active() is governing:
        self.settimeout(0)
        try:
            return _read(self, *arguments)
        except ssl.SSLWantReadError:
            left = None if due is None else due - governing.time()
            if left is not None and left <= 0:
                raise TimeoutError("The read operation timed out") from None
            governing.wait_readable(self.fileno(), left)
        finally:
            self.settimeout(seconds)
    return _read(self, *arguments)


class CountedQueue:
    """queue.SimpleQueue, of which one can tell that somebody is about to get something."""

    __class_getitem__: Any = classmethod(GenericAlias)

    def __init__(self) -> None:
        self._queue: Any = _SimpleQueue()
        self._under_way: deque[None] = deque()  # one for each thing that was put and that nobody has in hand yet

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT002 (as in the original)
        self._under_way.append(None)
        self._queue.put(item)
        link.ring()

    put_nowait = put

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002
        governing = link.governing(threading.current_thread())
        if governing is None or not block or timeout is not None:
            item = self._queue.get(block, timeout)
        else:
            item = governing.wait_call(self._queue.get, lambda: bool(self._under_way))
        self._under_way.pop()
        return item

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def empty(self) -> bool:
        return bool(self._queue.empty())

    def qsize(self) -> int:
        return int(self._queue.qsize())
