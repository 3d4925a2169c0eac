"""Heap: memory that this process has freed goes back to the machine, for which the C library needs to be told.

Between what is still used there are gaps, which it keeps for what may come: after a flood tens of megabytes, and in hours of
coming and going a few more. To be told takes a while, in which other threads wait when they want a large piece: about
0.2 ms for each megabyte that goes back and 3 ms for a hundred that stay. So it is told seldom, when there is little to do, or
after some minutes without a pause; and the longer it took, the later again.

https://man7.org/linux/man-pages/man3/malloc_trim.3.html
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable

from sampan.kit.clock import Clock

LOOK_SECONDS = 30.0
QUIET = 0.2
"""Of a core: a process that takes no more has time."""
PATIENCE_SECONDS = 120.0
"""So long it waits for that."""
WORTH_SECONDS = 1.0
"""Of work: less leaves no gaps to speak of."""
SHARE = 0.001
"""Of the time that others may wait for it."""


async def run(clock: Clock) -> None:
    """For ever."""
    last, done, took = clock.monotonic(), 0.0, 0.0
    while True:
        began, before = clock.monotonic(), time.process_time()
        await clock.sleep(LOOK_SECONDS)
        now, worked = clock.monotonic(), time.process_time()
        busy = (worked - before) / max(now - began, 1e-3)
        if worked - done >= WORTH_SECONDS and is_due(now - last, busy, took):
            with contextlib.suppress(OSError, ImportError, MemoryError):  # no room for a thread, or for one more file
                took = await asyncio.to_thread(give_back)
            last, done = clock.monotonic(), time.process_time()


def is_due(waited: float, busy: float, took: float) -> bool:
    """So many seconds after the last time, which `took` so many, in a process that has just taken that share of a core."""
    return waited >= took / SHARE and (busy <= QUIET or waited >= PATIENCE_SECONDS)


def give_back() -> float:
    """Tells the C library; returns how many seconds it took. Nothing is done where there is no such call, as in musl."""
    tell = _trim()
    if tell is None:
        return 0.0
    began = time.perf_counter()
    tell(0)
    return time.perf_counter() - began


@functools.cache
def _trim() -> Callable[[int], int] | None:
    import ctypes

    found = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if found is not None:
        found.argtypes, found.restype = (ctypes.c_size_t,), ctypes.c_int
    return found
