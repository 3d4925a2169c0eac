"""Events expire: one that was not written for an hour goes, as everybody's does who follows --event-ttl's default.

Once a minute the oldest are looked at, and only those. The times are of this process; those of events from
before its start are the latest that they tell themselves.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Any, NamedTuple

from sampan.kinds.core.event import EVENT
from sampan.kit.clock import Clock
from sampan.meta import timestamps
from sampan.server.cache import Cache, Change, Item
from sampan.store.protocol import Compare, Delete, Store, StoreError

LOG = logging.getLogger(__name__)
TTL_SECONDS = 3600.0
SWEEP_SECONDS = 60.0
AT_ONCE = 64

Tree = dict[str, Any]


class Written(NamedTuple):
    """An event as it was written at a time; it expires unless it is written again."""

    time: float
    revision: int


class EventExpiry:
    """`start()` once the cache is filled; run `run()` as a task."""

    def __init__(self, cache: Cache, store: Store, clock: Clock) -> None:
        self._cache = cache
        self._store = store
        self._clock = clock
        self._written: OrderedDict[str, Written] = OrderedDict()  # by key, oldest first

    def start(self) -> None:
        """Takes note of what is there, and of what comes."""
        events = self._cache.of(EVENT)
        found = [(Written(self._last_told(item), item.revision), item.key) for item in events.range()]
        self._written.update((key, written) for written, key in sorted(found))
        events.listen(self._saw)

    async def run(self) -> None:
        """Sweeps for ever."""
        while True:
            await self._clock.pulse(SWEEP_SECONDS)
            try:
                await self.sweep()
            except StoreError as error:
                LOG.warning("events could not be expired, to be tried again: %s", error)
            except Exception:
                LOG.exception("events could not be expired, to be tried again")

    async def sweep(self) -> int:
        """Deletes what has expired by now; returns how many they were."""
        limit, count = self._clock.now() - TTL_SECONDS, 0
        while due := self._due(limit):
            try:
                revisions = await asyncio.gather(*(self._remove(item) for item in due))
            except StoreError:
                self._put_back(due, limit)
                raise
            await self._cache.wait(max(revisions))
            count += sum(1 for revision in revisions if revision)
        return count

    def _due(self, limit: float) -> list[Item]:
        """The next few events that were last written before the limit."""
        due: list[Item] = []
        events = self._cache.of(EVENT)
        while self._written and len(due) < AT_ONCE:
            key, written = next(iter(self._written.items()))
            if written.time > limit:
                break
            del self._written[key]
            item = events.get(key)
            if item is not None and item.revision == written.revision:
                due.append(item)
        return due

    async def _remove(self, item: Item) -> int:
        """The revision of the deletion; 0 when somebody has written the event just now."""
        key = self._cache.of(EVENT).prefix + item.key
        result = await self._store.txn([Compare(key, item.revision)], [Delete(key)])
        return result.revision if result.succeeded else 0

    def _put_back(self, due: list[Item], limit: float) -> None:
        """To the beginning; what was written meanwhile has its place."""
        for item in reversed([item for item in due if item.key not in self._written]):
            self._written[item.key] = Written(limit, item.revision)
            self._written.move_to_end(item.key, last=False)

    def _last_told(self, item: Item) -> float:
        try:
            return _last_told(item.copy())
        except Exception:
            LOG.exception("when the event %s was written can't be read", item.key)
            return self._clock.now()

    def _saw(self, change: Change) -> None:
        if change.item is not None:
            self._written[change.item.key] = Written(self._clock.now(), change.item.revision)
            self._written.move_to_end(change.item.key)
        elif change.previous is not None:
            self._written.pop(change.previous.key, None)


def _last_told(event: Tree) -> float:
    """The latest time that an event tells."""
    metadata, series = event["metadata"], event.get("series") or {}
    told = [metadata.get("creationTimestamp"), event.get("lastTimestamp"), event.get("eventTime")]
    told += [series.get("lastObservedTime"), *(entry.get("time") for entry in metadata.get("managedFields") or ())]
    return max((timestamps.parse(text) for text in told if text), default=0.0)
