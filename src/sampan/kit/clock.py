"""Clock: what time it is and how to wait. The only place that reads the machine's clocks.

Everything else is handed a `Clock`, or just `now`, so that tests and simulation decide what time it is.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

PAUSE_SECONDS = 1.0
"""A watchdog that is so late tells of a pause."""


class Clock(Protocol):
    """Wall time for what people read, monotonic time for how long something took, and waiting."""

    awake_since: float
    """The monotonic time when this process was last seen to go on after a pause, during which it could hear nobody."""

    def now(self) -> float:
        """Wall time in unix seconds. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds; at once, but after giving way, for zero or less."""
        ...

    async def pulse(self, seconds: float) -> None:
        """The same for the rounds of a heartbeat: what the next one makes up for if some are left out.

        Virtual time leaves rounds out while nothing else happens; then it returns later, before anything else does.
        """
        ...

    def watchdog_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls it after so many seconds, to see whether pulses still come; in virtual time later while they surely do."""
        ...


class SystemClock:
    """The machine's own clocks. That the process stood still is noticed by watchdogs that come late."""

    awake_since = -math.inf

    def now(self) -> float:
        return time.time()

    monotonic = staticmethod(time.monotonic)  # asked several times in each request: no call of ours around it

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def pulse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def watchdog_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        due = time.monotonic() + seconds

        def bark() -> None:
            now = time.monotonic()
            if now - due > PAUSE_SECONDS:
                self.awake_since = now
            callback()

        return asyncio.get_running_loop().call_later(seconds, bark)
