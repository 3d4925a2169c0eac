"""Whoever has gone is noticed also by who does not read from it just now, since what it sent last is not taken yet."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def heard_of(left: Any) -> Iterator[None]:
    """What is done within, by one task, ends with ConnectionResetError as soon as the one that it is for has left.

    An answer may be silent for ever, and only who writes would find out. `left` is a connection of the listener; one that
    has sent 32 more requests meanwhile is not read, and so not heard of. Within, limits are `asyncio.timeout`:
    `asyncio.wait_for` may lose the cancellation.
    """
    lost: asyncio.Future[None] = left.gone
    task, is_within = asyncio.current_task(), True

    def end(_: asyncio.Future[None]) -> None:
        if task is not None and is_within:
            task.cancel()

    lost.add_done_callback(end)
    try:
        yield
    except asyncio.CancelledError:
        if task is None or not lost.done():
            raise
        task.uncancel()
        raise ConnectionResetError("the client went away") from None
    finally:
        is_within = False
        lost.remove_done_callback(end)


async def unless(left: Any, *works: asyncio.Future[Any]) -> None:
    """Until one of these is done, which may fail, or the one that they are for has left: ConnectionResetError then.

    What is not done is cancelled. `left` is a WebSocket or a connection of the listener.
    """
    lost: asyncio.Future[None] | None = getattr(left, "gone", None)
    try:
        await asyncio.wait((*works, lost) if lost is not None else works, return_when=asyncio.FIRST_COMPLETED)
        done = [work for work in works if work.done()]
        for work in done:
            work.result()
        if not done:
            raise ConnectionResetError("the client went away")
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
