"""Aside: what may compute for long leaves the event loop, so that everybody else is answered meanwhile.

Work on large bodies goes to a thread of its own at once; the rest is tried here, and only what loses patience
(an expression near its cost limit, a pattern over a long text) is done again there. Few threads are enough: they
compete with the loop for the interpreter, and the loop gets its turn every few milliseconds.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

from sampan.cel import patience
from sampan.meta import status

S = TypeVar("S")
T = TypeVar("T")

PATIENCE = 20_000
PATIENCE_ASIDE = 20_000_000
THREADS = 2
LARGE_BYTES = 32 * 1024

_HOME: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("home", default=None)


async def run(function: Callable[..., T], *args: Any, size: int = 0) -> T:
    """The function's result. It may run twice, so what it changes must bear that; `size` is that of what it reads."""
    if size < LARGE_BYTES:
        token = patience.REST.set([PATIENCE])  # as `limit` and `end` do: on the way of every write, several times
        try:
            return function(*args)
        except patience.TooLong:
            pass
        finally:
            patience.REST.reset(token)
    loop = asyncio.get_running_loop()
    try:
        done = loop.run_in_executor(_thread(), _away, loop, function, *args)
    except NotImplementedError:  # a loop in virtual time has no threads, and nobody who waits
        return function(*args)
    return await done


async def by_turns(function: Callable[[S], T], items: Iterable[S], size: Callable[[S], int]) -> list[T]:
    """The function's results for all items; others have their turn in between, and a large item is done elsewhere."""
    made: list[T] = []
    spent = 0
    for item in items:
        weight = size(item)
        spent += weight
        if weight >= LARGE_BYTES:
            made.append(await run(function, item, size=weight))
            spent = 0
        else:
            made.append(function(item))
        if spent >= LARGE_BYTES:
            await asyncio.sleep(0)
            spent = 0
    return made


def at_home(function: Callable[..., T], *args: Any) -> T:
    """Calls on the event loop from what runs aside, for what only the loop may look at."""
    loop = _HOME.get()
    if loop is None:
        return function(*args)
    result: Future[T] = Future()

    def call() -> None:
        try:
            result.set_result(function(*args))
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            result.set_exception(error)

    loop.call_soon_threadsafe(call)
    return result.result()


def _away(loop: asyncio.AbstractEventLoop, function: Callable[..., T], *args: Any) -> T:
    token, outer = _HOME.set(loop), patience.limit(PATIENCE_ASIDE)
    try:
        return function(*args)
    except patience.TooLong:
        raise status.timed_out() from None
    finally:
        patience.end(outer)
        _HOME.reset(token)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "sampan-aside")
