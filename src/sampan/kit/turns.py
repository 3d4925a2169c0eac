"""Turns: work that is done a few at a time. Who takes long keeps nobody waiting: the next one begins beside it.

So that they don't pile up where all take long, there is a limit to all that are under way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 4
"""So many times as many are under way at most, with those that take long."""


class Turns:
    """So many at once, each for so many seconds at most: what takes longer does not count any more."""

    def __init__(self, count: int, seconds: float) -> None:
        self._free, self._all, self._seconds = asyncio.Semaphore(count), asyncio.Semaphore(MOST * count), seconds

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Waits for a turn, and has it until the end."""
        async with self._all, self._counted():
            yield

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        await self._free.acquire()
        is_over = False

        def over() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._seconds, over)
        try:
            yield
        finally:
            timer.cancel()
            over()

    def locked(self) -> bool:
        """Whether who comes now has to wait."""
        return self._free.locked() or self._all.locked()
