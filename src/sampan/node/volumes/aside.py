"""Aside: work on file systems of others, which may hang for ever: in a thread of its own, so that nobody waits for it.

Who is broken off goes on without it while it is out there; when it comes back it does nothing more.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from sampan.kit import threads
from sampan.node.volumes.failure import VolumeFailure

T = TypeVar("T")

LOOK_SECONDS = 0.05
MOMENT_SECONDS = 0.2
"""In which a file system that does not hang answers."""


class Errand:
    """What the one who waits and the thread tell each other."""

    def __init__(self) -> None:
        self._is_over = self.is_outside = False

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._is_over = True

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Around what may hang, and leaves nothing that is to be undone. Raises VolumeFailure as `go_on`."""
        self.is_outside = True
        try:
            self.go_on()
            yield
        finally:
            self.is_outside = False
        self.go_on()

    def go_on(self) -> None:
        """Asked before each change out there. Raises VolumeFailure when nobody waits any more."""
        if self._is_over:
            raise VolumeFailure("given up")


@contextlib.contextmanager
def alone(what: Hashable) -> Iterator[None]:
    """One thread at a time with a volume: who was given up has stopped before another begins. Blocks."""
    with _changed:
        _changed.wait_for(lambda: what not in _taken)
        _taken.add(what)
    try:
        yield
    finally:
        with _changed:
            _taken.discard(what)
            _changed.notify_all()


_taken: set[Hashable] = set()
_changed = threading.Condition()


async def run(work: Callable[[Errand], T]) -> T:
    """What comes of it. A cancelled caller still waits, but not for what hangs outside. OSError: there is no room for it."""
    loop, errand = asyncio.get_running_loop(), Errand()
    outcome: asyncio.Future[T] = loop.create_future()
    outcome.add_done_callback(lambda done: done.exception())

    def body() -> None:
        try:
            result = work(errand)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            tell, what = outcome.set_exception, error
        else:
            tell, what = outcome.set_result, result  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the agent may have ended meanwhile
            loop.call_soon_threadsafe(tell, what)

    threads.start(body, "sampan-volumes")
    try:
        await asyncio.wait([outcome])
    except asyncio.CancelledError:
        errand.give_up()
        await asyncio.wait([outcome], timeout=MOMENT_SECONDS)
        while not (outcome.done() or errand.is_outside):
            await asyncio.wait([outcome], timeout=LOOK_SECONDS)
        raise
    return outcome.result()
