"""Tasks: background work that somebody owns. The only place that starts an asyncio task.

A task is kept alive by its owner, its failure is never lost, and closing the owner ends it. A failure
of a critical task is our fault: whoever waits on the owner gets it and ends the process.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Tasks:
    """A name and its running tasks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._running: dict[asyncio.Task[Any], None] = {}  # in the order of their starts
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._closed = False

    def spawn(self, coro: Coroutine[Any, Any, T], name: str, *, critical: bool = True) -> asyncio.Task[T]:
        """Starts the coroutine. An unexpected exception is logged; a critical one also ends `wait()`."""
        if self._closed:
            coro.close()
            raise RuntimeError(f"{self.name} is closed; it does not start {name}")
        task = asyncio.get_running_loop().create_task(coro, name=f"{self.name}/{name}")
        self._running[task] = None
        task.add_done_callback(lambda done: self._finished(done, critical=critical))
        return task

    async def wait(self) -> None:
        """Returns when closed; raises the first failure of a critical task."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Cancels all and waits for their ends. A task that closes its own owner is left running."""
        self._closed = True
        current = asyncio.current_task()
        while others := [task for task in self._running if task is not current and not task.done()]:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
        self._ended.set()

    def kill(self) -> None:
        """Cancels all and waits for nobody, as when the process is killed; nothing starts here any more."""
        self._closed = True
        for task in list(self._running):
            task.cancel()
        self._ended.set()

    @property
    def is_closed(self) -> bool:
        """Whether nothing starts here any more."""
        return self._closed

    def __len__(self) -> int:
        return len(self._running)

    def _finished(self, task: asyncio.Task[Any], *, critical: bool) -> None:
        self._running.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        log.error("task %s failed: %r", task.get_name(), error, exc_info=error)
        if critical and self._failure is None:
            self._failure = error
            self._ended.set()
        if not isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            raise error  # meant for who runs the loop, as those two are, which got there already: the end of a test's time
