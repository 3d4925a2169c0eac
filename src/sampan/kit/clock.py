"""Clock: what time it is and how to wait. The only place that reads the machine's clocks.

Everything else is handed a `Clock`, or just `now`, so that tests and simulation decide what time it is.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

BEAT_SECONDS = PAUSE_SECONDS = 1.0
"""How often it is seen to that the process goes on, and how late that must be to be called a pause."""
NOTICE_SECONDS = 5.0
JUMP_SECONDS = 60.0
"""How often it is looked whether the wall clock went its own way, and how far that must be to be called a jump."""


class Clock(Protocol):
    """Wall time for what people read, monotonic time for how long something took, and waiting."""

    def now(self) -> float:
        """Wall time in unix seconds. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def awake(self) -> float:
        """As `monotonic`, but without pauses of this process, in which it could hear nobody, since the first watchdog."""
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


class Jumps:
    """Those of the wall clock since this was made, each told once: it was set, or the machine slept.

    So what is to be done at a time of day, after a wait that only counts the time awake, is not done too late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._ahead = clock, clock.now() - clock.monotonic()

    async def wait(self, seconds: float = math.inf) -> bool:
        """Whether one comes within so many seconds, or came since the last wait. It returns within NOTICE_SECONDS of it.

        In virtual time both it and the end of the wait are noticed later while nothing else happens, as pulses are:
        before whatever happens next.
        """
        clock = self._clock
        begun = clock.monotonic()
        while (left := begun + seconds - clock.monotonic()) > 0:
            await clock.pulse(min(left, NOTICE_SECONDS))
            ahead = clock.now() - clock.monotonic()
            if abs(ahead - self._ahead) >= JUMP_SECONDS:
                self._ahead = ahead
                return True
        return False


async def wait_jump(clock: Clock, seconds: float = math.inf) -> bool:
    """Whether a jump comes from now on within so many seconds, for those who miss none between two waits."""
    return await Jumps(clock).wait(seconds)


class SystemClock:
    """The machine's own clocks. That the process stood still is noticed by a beat that comes late."""

    _paused_seconds = 0.0
    _next_beat = math.inf
    _beating: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        return time.time()

    monotonic = staticmethod(time.monotonic)  # asked several times in each request: no call of ours around it

    def awake(self) -> float:
        now = self.monotonic()
        if now - self._next_beat > PAUSE_SECONDS:
            self._paused_seconds += now - self._next_beat
            self._next_beat = now
        return now - self._paused_seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def pulse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def watchdog_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        if self._beating is not loop:
            self._beating, self._next_beat = loop, math.inf
            self._beat()
        return loop.call_later(seconds, callback)

    def _beat(self) -> None:
        """While nobody is watched for, pauses harm nobody, and there is none."""
        self.awake()
        self._next_beat = self.monotonic() + BEAT_SECONDS
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)
