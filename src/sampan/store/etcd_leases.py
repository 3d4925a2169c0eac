"""Leases: what is written under some prefixes goes by itself after a time.

As upstream has it, writes that come close together share a lease, so that there are few; a key lives a little longer
than it was to.

https://etcd.io/docs/latest/learning/api/#lease-api
"""

from collections.abc import Iterable, Mapping

from sampan.kit.clock import Clock
from sampan.store import etcd_wire
from sampan.store.etcd_client import Client
from sampan.store.protocol import Put, Write

SHARED_SECONDS = 60.0
SHARED_PART = 0.05
"""A lease is given to new writes for this part of its time, and not for longer than SHARED_SECONDS."""

Lifetimes = Mapping[str, int]
"""For how many seconds keys live, by their prefix."""


class Leases:
    """The leases that are given to writes now."""

    def __init__(self, client: Client, lifetimes: Lifetimes, clock: Clock) -> None:
        self._client = client
        self._lifetimes = dict(lifetimes)
        self._clock = clock
        self._given: dict[str, tuple[int, float]] = {}  # by prefix: the lease, and until when it is given

    async def of(self, writes: Iterable[Write]) -> dict[str, int]:
        """The lease of each key that has one. Raises StoreError."""
        found: dict[str, int] = {}
        if self._lifetimes:
            for write in writes:
                for prefix, seconds in self._lifetimes.items():
                    if isinstance(write, Put) and write.key.startswith(prefix):
                        found[write.key] = await self._lease(prefix, seconds)
        return found

    def forget(self) -> None:
        """New writes get new ones: one that was given has ended."""
        self._given.clear()

    async def _lease(self, prefix: str, seconds: int) -> int:
        lease, until = self._given.get(prefix, (0, 0.0))
        now = self._clock.monotonic()
        if now >= until:
            shared = min(SHARED_SECONDS, seconds * SHARED_PART)
            asked = etcd_wire.make("LeaseRequest")(seconds=seconds + round(shared))
            lease = (await self._client.call("lease", asked)).id  # one that is asked for in vain ends unused
            self._given[prefix] = lease, now + shared
        return lease
