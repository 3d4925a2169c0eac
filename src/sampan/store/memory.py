"""MemoryStore: the store in plain dicts, for tests and simulation. Nothing is durable.

It is also the clearest statement of what a store does; the suite in tests/store holds every other
store to it.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable, Sequence

from sampan.store import keys
from sampan.store.protocol import (
    Batch,
    Compacted,
    Compare,
    Event,
    FutureRevision,
    Page,
    Put,
    Record,
    Result,
    StoreError,
    Write,
)
from sampan.store.watches import Hub

MAX_HISTORY = 100_000


class MemoryStore:
    """A Store. History is bounded: beyond `max_history` changes the older half is compacted away."""

    def __init__(self, max_history: int = MAX_HISTORY) -> None:
        self.committed: Callable[[Sequence[Event]], None] | None = None
        """Is told of each transaction's events when it is done."""
        self._revision = 1
        self._oldest = 1
        self._live: dict[str, Record] = {}
        self._live_keys: list[str] = []  # sorted
        self._keys: list[str] = []  # sorted; with those that only have history
        self._versions: dict[str, list[tuple[int, Record | None]]] = {}  # by revision, ascending
        self._log: list[Event] = []  # in revision order
        self._max_history = max_history
        self._hub = Hub(1)
        self._closed = False

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """See Store.txn."""
        keys.check_txn(compares, writes)
        if self._closed:
            raise StoreError("the store is closed")
        live = self._live
        for compare in compares:
            record = live.get(compare.key)
            if (record.mod_revision if record else 0) != compare.mod_revision:
                return Result(False, self._revision, tuple(live.get(compare.key) for compare in compares))
        events = []
        for write in writes:
            if (event := self._event(write)) is not None:
                events.append(event)  # noqa: PERF401 (a comprehension costs more than its one or two events)
        if events:
            self._revision += 1
            for event in events:
                self._apply(event)
            self._hub.publish(self._revision, events)
            if len(self._log) > self._max_history:
                self._compact(self._log[len(self._log) // 2].revision)
            if self.committed is not None:
                self.committed(events)
        return Result(True, self._revision)

    def copy(self) -> "MemoryStore":
        """Another store with the same past."""
        made = MemoryStore(self._max_history)
        made._revision, made._oldest = self._revision, self._oldest
        made._live, made._live_keys = dict(self._live), list(self._live_keys)
        made._keys, made._log = list(self._keys), list(self._log)
        made._versions = {key: list(versions) for key, versions in self._versions.items()}
        made._hub = Hub(self._revision)
        return made

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """See Store.get."""
        self._check_readable(revision)
        if revision in (0, self._revision):
            return self._live.get(key)
        return self._as_of(key, revision)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See Store.list."""
        self._check_readable(revision)
        if revision in (0, self._revision):
            start, end = _span(self._live_keys, prefix, after)
            stop = min(end, start + limit) if limit else end
            records = tuple(self._live[key] for key in self._live_keys[start:stop])
            return Page(self._revision, records, end - stop)
        start, end = _span(self._keys, prefix, after)
        past = [record for key in self._keys[start:end] if (record := self._as_of(key, revision)) is not None]
        taken = past[:limit] if limit else past
        return Page(revision, tuple(taken), len(past) - len(taken))

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """See Store.watch."""
        return self._hub.watch(prefix, after_revision, self._past)

    async def compact(self, revision: int) -> None:
        """See Store.compact."""
        if revision > self._revision:
            raise FutureRevision
        self._compact(revision)

    def size_bytes(self) -> int | None:
        """See Store.size_bytes."""
        return None

    async def revision(self) -> int:
        """See Store.revision."""
        return self._revision

    async def close(self) -> None:
        """See Store.close."""
        self._closed = True
        self._hub.close()

    def _event(self, write: Write) -> Event | None:
        previous = self._live.get(write.key)
        if isinstance(write, Put):
            return Event(write.key, self._revision + 1, write.value, previous)
        return Event(write.key, self._revision + 1, None, previous) if previous else None

    def _apply(self, event: Event) -> None:
        key = event.key
        record = None
        if event.value is not None:
            created = event.previous.create_revision if event.previous else event.revision
            record = Record(key, event.value, created, event.revision)
            if event.previous is None:
                insort(self._live_keys, key)
            self._live[key] = record
        else:
            del self._live[key]
            del self._live_keys[bisect_left(self._live_keys, key)]
        if key not in self._versions:
            self._versions[key] = []
            insort(self._keys, key)
        self._versions[key].append((event.revision, record))
        self._log.append(event)

    def _check_readable(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision
        if revision and revision < self._oldest:
            raise Compacted(self._oldest)

    def _as_of(self, key: str, revision: int) -> Record | None:
        versions = self._versions.get(key, [])
        index = bisect_right(versions, revision, key=_version_revision)
        return versions[index - 1][1] if index else None

    async def _past(self, prefix: str, after_revision: int, upto_revision: int) -> Batch:
        if after_revision < self._oldest and (self._oldest > 1 or after_revision < 0):
            raise Compacted(self._oldest)
        start = bisect_right(self._log, after_revision, key=_event_revision)
        end = bisect_right(self._log, upto_revision, key=_event_revision)
        return Batch(upto_revision, tuple(e for e in self._log[start:end] if e.key.startswith(prefix)))

    def _compact(self, revision: int) -> None:
        if revision <= self._oldest:
            return
        cut = bisect_right(self._log, revision, key=_event_revision)
        for key in {event.key for event in self._log[:cut]}:
            self._forget(key, revision)
        del self._log[:cut]
        self._oldest = revision

    def _forget(self, key: str, revision: int) -> None:
        """Keeps of the key's versions the one readable at the revision, and the later ones."""
        versions = self._versions[key]
        index = bisect_right(versions, revision, key=_version_revision) - 1
        if index >= 0:
            keep_from = index if versions[index][1] is not None else index + 1
            del versions[:keep_from]
        if not versions:
            del self._versions[key]
            del self._keys[bisect_left(self._keys, key)]


def _version_revision(version: tuple[int, Record | None]) -> int:
    return version[0]


def _event_revision(event: Event) -> int:
    return event.revision


def _span(ordered: list[str], prefix: str, after: str) -> tuple[int, int]:
    """Where the keys with the prefix that are greater than `after` start and end."""
    start = bisect_left(ordered, prefix)
    if after:
        start = max(start, bisect_right(ordered, after))
    stop = keys.prefix_end(prefix)
    end = len(ordered) if stop is None else bisect_left(ordered, stop)
    return start, max(start, end)
