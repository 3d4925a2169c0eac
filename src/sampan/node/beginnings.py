"""Beginnings: what is being done to begin a pod, to be broken off when the pod is to end: nobody wants it any more.

What is about done comes to its end first, so that it ends like all the rest; what hangs is broken off.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE_SECONDS = 2.0


class GivenUp(Exception):
    """It was broken off: the pod is to end."""


class Beginnings:
    """Those of one pod."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Timeout] = set()
        self.is_over = False
        """Nothing is to begin any more."""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around what may be broken off. Raises GivenUp, unless what was broken off came to its end all the same."""
        if self.is_over:
            raise GivenUp
        task = asyncio.current_task()
        assert task is not None, "only a task can be broken off"
        limit, before = asyncio.timeout(None), task.cancelling()
        try:
            async with limit:
                self._under_way.add(limit)
                try:
                    yield
                finally:
                    self._under_way.discard(limit)
        except TimeoutError:
            if limit.expired():
                raise GivenUp from None
            raise
        if task.cancelling() > before:  # by somebody else, while it came to its end
            raise asyncio.CancelledError

    def begin(self) -> None:
        """Something is wanted (again)."""
        self.is_over = False

    def give_up(self) -> None:
        """All of it is to end soon. Repeating is harmless."""
        self.is_over = True
        soon = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self._under_way:
            self._under_way.pop().reschedule(soon)
