"""Waiters: coroutines that wait until something they can test has come true."""

import asyncio
from collections.abc import Callable


class Waiters:
    """Each waiter has a predicate; `wake` asks them all."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def wait(self, is_so: Callable[[], bool]) -> None:
        """Returns once the predicate holds."""
        if is_so():
            return
        entry = (is_so, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def wake(self) -> None:
        """Lets those go whose predicate holds now."""
        if not self._waiting:
            return
        ready = [entry for entry in self._waiting if entry[0]()]
        for entry in ready:
            self._waiting.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
