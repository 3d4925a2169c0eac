"""How long one step of the event loop computes: what it holds up everybody else for.

Processor time of the loop's thread, not time on the clock, so that a busy machine changes little, and without the
garbage collector, whose turn may come anywhere.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from unittest import mock


@dataclass
class Stalls:
    """`longest` is the longest step, `total` all of them, in seconds of processor time."""

    longest: float = 0.0
    total: float = 0.0


@asynccontextmanager
async def measured() -> AsyncIterator[Stalls]:
    """Measures the steps that the loop takes while the context is open, whole ones: it begins and ends between two."""
    found = Stalls()
    run = asyncio.Handle._run  # noqa: SLF001

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        spent = time.thread_time() - began
        found.total += spent
        found.longest = max(found.longest, spent)

    gc.disable()
    try:
        with mock.patch.object(asyncio.Handle, "_run", timed):
            await asyncio.sleep(0)
            yield found
            await asyncio.sleep(0)
    finally:
        gc.enable()
