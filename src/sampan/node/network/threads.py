"""Threads that live for one errand: the only ones that may change their network namespace.

A thread of a pool that stayed behind in a pod's namespace would run the next errand there, so each
errand gets a fresh thread that ends with it. The event loop goes on meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sampan.kit import threads

T = TypeVar("T")


async def run_in_fresh_thread(errand: Callable[[], T]) -> T:
    """Run the errand in a thread of its own and return its result or raise its exception. OSError: there is no room for it.

    A cancelled caller still waits for the errand, so that nothing is left half done behind its back.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def body() -> None:
        try:
            result = errand()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            loop.call_soon_threadsafe(outcome.set_exception, error)
        else:
            loop.call_soon_threadsafe(outcome.set_result, result)

    threads.start(body, "sampan-network")
    return await threads.even_if_cancelled(outcome)
