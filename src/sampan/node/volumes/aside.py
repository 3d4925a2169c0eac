"""Aside: work on file systems of others, which may hang for ever: in a thread of its own, so that nobody waits for it.

Who is broken off goes on without it while it is out there; when it comes back it does nothing more.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from sampan.kit import threads
from sampan.node.volumes.failure import VolumeFailure

T = TypeVar("T")

LOOK_SECONDS = 0.05


class Errand:
    """What the one who waits and the thread tell each other."""

    def __init__(self) -> None:
        self._is_over = self.is_outside = False

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._is_over = True

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Around what may hang, and leaves nothing. Raises VolumeFailure when nobody waits any more."""
        self.is_outside = True
        try:
            yield
        finally:
            self.is_outside = False
        if self._is_over:
            raise VolumeFailure("given up")


async def run(work: Callable[[Errand], T]) -> T:
    """What comes of it. A cancelled caller still waits, but not for what is outside. OSError: there is no room for it."""
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
        while not (outcome.done() or errand.is_outside):
            await asyncio.wait([outcome], timeout=LOOK_SECONDS)
        raise
    return outcome.result()
