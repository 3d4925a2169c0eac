"""Whoever has gone is noticed also by who does not read from it just now, since what it sent last is not taken yet."""

import asyncio
from typing import Any


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
