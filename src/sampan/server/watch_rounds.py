"""Rounds: when watchers are woken that have something to be sent.

Telling many watchers of a change takes a while, mostly for encrypting and for the system's calls, and these are the same
for one change and for five. So what changes while a large round goes on, and for as long again, goes out together in the
next: under load a change costs the less the more there are, and the last watcher hears of it sooner.
"""

import asyncio
from typing import Protocol

MANY = 64
"""Watchers that make a round a large one."""
REST_SECONDS = 0.02
"""The longest that a next round is put off."""


class Watcher(Protocol):
    """Who is woken."""

    wake: asyncio.Event
    is_in_line: bool


class Rounds:
    """Those of the watchers of one kind of object."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._line: list[Watcher] = []
        self._woken = 0
        self._began = 0.0
        self._is_resting = False

    def wake(self, watcher: Watcher) -> None:
        """At once, or with the next round."""
        if self._is_resting:
            if not watcher.is_in_line:
                watcher.is_in_line = True
                self._line.append(watcher)
            return
        if watcher.wake.is_set():
            return  # and counted already
        watcher.wake.set()
        if not self._woken:
            self._began = self._loop.time()
            self._loop.call_soon(self._close)
        self._woken += 1

    def _close(self) -> None:
        """The round is complete. Whoever was woken in it has his turn before what is called next."""
        is_large, self._woken = self._woken >= MANY, 0
        if is_large:
            self._is_resting = True
            self._loop.call_soon(self._rest)

    def _rest(self) -> None:
        took = self._loop.time() - self._began
        self._loop.call_later(min(took, REST_SECONDS), self._next)

    def _next(self) -> None:
        self._is_resting = False
        line, self._line = self._line, []
        for watcher in line:
            watcher.is_in_line = False
            self.wake(watcher)
