"""Shifted: a store whose revisions are counted from a base, which is kept in the store itself.

What moves from one store to another gets new revisions, in the same order; with the base they are all greater than any
that the old store gave out, so that nobody who comes with an old one is served a gap.
"""

from collections.abc import AsyncIterator, Sequence

from sampan.store.protocol import Batch, Compacted, Compare, Event, Page, Record, Result, Store, Write

BASE = "revision_base"
"""The key of the base, in decimal digits."""


async def opened(store: Store) -> Store:
    """The store as it is to be used: from its base on, where it has one. Raises StoreError."""
    found = await store.get(BASE)
    return Shifted(store, int(found.value)) if found is not None else store


class Shifted:
    """A Store: `inner`, with `base` added to each revision."""

    def __init__(self, inner: Store, base: int) -> None:
        self._inner = inner
        self._base = base

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """See Store.txn."""
        inner = [Compare(each.key, self._inward(each.mod_revision)) for each in compares]
        result = await self._inner.txn(inner, writes)
        return Result(result.succeeded, result.revision + self._base, tuple(map(self._record, result.found)))

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """See Store.get."""
        try:
            return self._record(await self._inner.get(key, self._past(revision)))
        except Compacted as error:
            raise self._compacted(error) from error

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See Store.list."""
        try:
            page = await self._inner.list(prefix, after=after, limit=limit, revision=self._past(revision))
        except Compacted as error:
            raise self._compacted(error) from error
        records = tuple(_moved(record, self._base) for record in page.records)
        return Page(page.revision + self._base, records, page.remaining)

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """See Store.watch."""
        after = after_revision - self._base
        return _Watch(self._inner.watch(prefix, after if after > 0 else -1), self._base)

    async def compact(self, revision: int) -> None:
        """See Store.compact."""
        if revision > self._base:
            await self._inner.compact(revision - self._base)

    async def revision(self) -> int:
        """See Store.revision."""
        return await self._inner.revision() + self._base

    def size_bytes(self) -> int | None:
        """See Store.size_bytes."""
        return self._inner.size_bytes()

    async def close(self) -> None:
        """See Store.close."""
        await self._inner.close()

    def _inward(self, revision: int) -> int:
        """What a key is compared with; one from before the base holds for none."""
        return revision if revision <= 0 else max(revision - self._base, -1)

    def _past(self, revision: int) -> int:
        if 0 < revision <= self._base:
            raise Compacted(self._base + 1)
        return max(revision - self._base, 0)

    def _compacted(self, error: Compacted) -> Compacted:
        return Compacted(error.oldest + self._base)

    def _record(self, record: Record | None) -> Record | None:
        return None if record is None else _moved(record, self._base)


class _Watch:
    """A watch whose batches are shifted."""

    def __init__(self, inner: AsyncIterator[Batch], base: int) -> None:
        self._inner = inner
        self._base = base

    def __aiter__(self) -> "_Watch":
        return self

    async def __anext__(self) -> Batch:
        try:
            return self._batch(await anext(self._inner))
        except Compacted as error:
            raise Compacted(error.oldest + self._base) from error

    def take_at_once(self) -> Batch | None:
        """What there is without waiting."""
        take = getattr(self._inner, "take_at_once", None)
        batch = take() if take is not None else None
        return None if batch is None else self._batch(batch)

    async def aclose(self) -> None:
        """The reader wants no more."""
        await self._inner.aclose()  # type: ignore[attr-defined]

    def _batch(self, batch: Batch) -> Batch:
        base = self._base
        return Batch(batch.revision + base, tuple(_event(event, base) for event in batch.events))


def _moved(record: Record, base: int) -> Record:
    return Record(record.key, record.value, record.create_revision + base, record.mod_revision + base)


def _event(event: Event, base: int) -> Event:
    previous = None if event.previous is None else _moved(event.previous, base)
    return Event(event.key, event.revision + base, event.value, previous)
