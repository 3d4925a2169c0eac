"""Clock: what time it is and how to wait. The only place that reads the machine's clocks.

Everything else is handed a `Clock`, or just `now`, so that tests and simulation decide what time it is.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what people read, monotonic time for how long something took, and waiting."""

    def now(self) -> float:
        """Wall time in unix seconds. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds; at once, but after giving way, for zero or less."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
