"""How many streams the agent serves at once: commands in containers, attached callers, forwarded ports, followed logs.

Each takes some of the descriptors that this process may have, of which most are for the pods themselves. When all
places are taken, who comes waits for its turn; when too many wait or the wait is long, it is told to come again (429).
"""

import asyncio
import resource
from asyncio import FIRST_COMPLETED
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 4096
"""Of all descriptors for streams, where the process may have very many."""
EXEC, ATTACH, FORWARD, LOGS, CONNECTION = 8, 4, 4, 2, 2
"""What a stream of each kind takes, its connection included; of a forward, what each connection to the pod takes more."""
MOST_WAITING = 1000
PATIENCE_SECONDS = 30.0


class NoPlaceError(Exception):
    """All are taken, and stay so."""


class StreamPlaces:
    """Those of one agent, in order of arrival. `most` is in descriptors; half of what the process may have by default."""

    def __init__(self, most: int = 0, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._free = most or min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, MOST)
        self._patience = patience_seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def place(self, cost: int, gone: asyncio.Future[None] | None = None) -> AsyncIterator[None]:
        """Holds one. NoPlaceError when there is none in time, ConnectionResetError when its caller is `gone` before."""
        await self._enter(cost, gone)
        try:
            yield
        finally:
            self._leave(cost)

    def take_at_once(self, cost: int) -> None:
        """One for somebody who can't wait, who calls `give_back`. NoPlaceError."""
        if cost and (self._waiting or self._free < cost):
            raise NoPlaceError
        self._free -= cost

    def give_back(self, cost: int) -> None:
        """What was taken at once."""
        self._leave(cost)

    async def _enter(self, cost: int, gone: asyncio.Future[None] | None) -> None:
        if not self._waiting and self._free >= cost:
            self._free -= cost
            return
        if len(self._waiting) >= MOST_WAITING:
            raise NoPlaceError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((cost, turn))
        try:
            await asyncio.wait({turn, gone} if gone else {turn}, timeout=self._patience, return_when=FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._give_up(cost, turn)
            raise
        if gone is not None and gone.done():
            self._give_up(cost, turn)
            raise ConnectionResetError("the caller has left")
        if not turn.done():
            self._give_up(cost, turn)
            raise NoPlaceError

    def _give_up(self, cost: int, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self._leave(cost)
        else:
            self._waiting.remove((cost, turn))
            self._call()

    def _leave(self, cost: int) -> None:
        self._free += cost
        self._call()

    def _call(self) -> None:
        """Whoever waits longest and finds room now."""
        while self._waiting and self._free >= self._waiting[0][0]:
            cost, turn = self._waiting.popleft()
            self._free -= cost
            turn.set_result(None)
