"""The API servers of a cluster that share a store: each notes itself for a short time, again and again.

Together they are the endpoints of the Service kubernetes. One that dies is forgotten when its time is over; one that ends
in peace takes itself out.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ (--endpoint-reconciler-type=lease)
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from sampan.kit.clock import Clock
from sampan.meta.status import ApiError
from sampan.server.keeper import Unmended
from sampan.store.protocol import Delete, Put, Store, StoreError

LOG = logging.getLogger(__name__)
PLACE = "/masterleases/"
LIFE_SECONDS = 15
"""The store gives what is written under PLACE so much time."""
AGAIN_SECONDS = 10.0
LEAVE_SECONDS = 2.0

Server = tuple[str, int]
"""An address and a port."""
Told = Callable[[], Awaitable[None]]


class ApiServers:
    """`note()` before others are to know of this one, then `run()` as a task."""

    def __init__(self, store: Store, clock: Clock, own: Server) -> None:
        self._store = store
        self._clock = clock
        self._key = f"{PLACE}{own[0]}:{own[1]}"
        self._known: tuple[Server, ...] = ()

    async def note(self) -> None:
        """This one is there. Raises StoreError."""
        await self._store.txn((), (Put(self._key, b"{}"),))

    async def find(self) -> tuple[Server, ...]:
        """All that are there, in order. Raises StoreError."""
        records = (await self._store.list(PLACE)).records
        places = (record.key.removeprefix(PLACE).rpartition(":") for record in records)
        self._known = tuple(sorted((address, int(port)) for address, _, port in places))
        return self._known

    async def run(self, told: Told) -> None:
        """For ever; `told` is called when one has come or gone, and again where that failed."""
        while True:
            await self._clock.sleep(AGAIN_SECONDS)
            known = self._known
            try:
                await self.note()
                if await self.find() != known:
                    await told()
            except (StoreError, ApiError, Unmended) as error:
                self._known = ()
                LOG.warning("which API servers there are could not be brought up to date: %s", error)

    async def leave(self, told: Told) -> None:
        """This one is there no more, and the others are not left to find out; nobody waits long for it."""
        with contextlib.suppress(StoreError, ApiError, Unmended, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._store.txn((), (Delete(self._key),))
                await told()
