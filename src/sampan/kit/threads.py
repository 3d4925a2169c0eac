"""Threads where the machine may have no room for one more: that is an OSError (EAGAIN), as it is of a process.

Python tells it by a RuntimeError, which nobody expects. libuv, which uvloop stands on, ends the whole process when it
can't make its threads for looking up names; so these are made while the process starts.
"""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def start(body: Callable[[], None], name: str) -> threading.Thread:
    """Runs it in a thread of its own. OSError when there is no room for one."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise _no_room() from error
    return thread


async def prepare() -> None:
    """For this process' loop: threads for `asyncio.to_thread` as there is room for them, and libuv's own."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Pool(thread_name_prefix="sampan"))
    with contextlib.suppress(OSError):
        await loop.getaddrinfo("127.0.0.1", 0, flags=socket.AI_NUMERICHOST)


async def to_its_end(errand: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """As `asyncio.to_thread`; but a cancelled caller still waits for it, so that nothing is done behind its back.

    Only for what can't hang: nobody can end the caller meanwhile.
    """
    return await even_if_cancelled(asyncio.get_running_loop().run_in_executor(None, partial(errand, *args, **named)))


async def even_if_cancelled(outcome: asyncio.Future[T]) -> T:
    """What comes of it; a cancelled caller waits for it all the same, and is cancelled then."""
    cancelled: asyncio.CancelledError | None = None
    while not outcome.done():
        try:
            await asyncio.wait([outcome])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        outcome.exception()
        raise cancelled
    return outcome.result()


class Pool(ThreadPoolExecutor):
    """Work waits for the threads that there are, when there is no room for more. OSError when there is none at all."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads:
                self._work_queue.get_nowait()  # else a later thread would do what was refused
                raise _no_room() from error


def _no_room() -> OSError:
    return OSError(errno.EAGAIN, os.strerror(errno.EAGAIN).lower())
