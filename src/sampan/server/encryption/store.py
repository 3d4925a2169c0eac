"""EncryptedStore: any store, with the values of some resources encrypted on the way in and opened on the way out.

Whoever holds the store's file reads no Secret. The watch cache holds opened values, so that only a write
and the first read of an object pay.

https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
"""

from collections.abc import AsyncIterator, Sequence

from sampan.server.encryption.providers import DecryptionError, Transformer
from sampan.server.encryption.settings import Encryption
from sampan.store.protocol import Batch, Compare, Event, Page, Put, Record, Result, Store, StoreError, Write

ROOT = "/registry/"
PAGE = 500


class EncryptedStore:
    """`inner` holds what is encrypted."""

    def __init__(self, inner: Store, encryption: Encryption) -> None:
        self._inner = inner
        self._encryption = encryption
        self._transformers: dict[str, Transformer | None] = {}

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        result = await self._inner.txn(compares, [self._sealed(write) for write in writes])
        if not result.found:
            return result
        return result._replace(found=tuple(found and self._opened(found) for found in result.found))

    async def get(self, key: str, revision: int = 0) -> Record | None:
        record = await self._inner.get(key, revision)
        return record and self._opened(record)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        page = await self._inner.list(prefix, after=after, limit=limit, revision=revision)
        return page._replace(records=tuple(map(self._opened, page.records)))

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        async for batch in self._inner.watch(prefix, after_revision):
            yield batch._replace(events=tuple(map(self._event, batch.events)))

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    def size_bytes(self) -> int | None:
        return self._inner.size_bytes()

    async def revision(self) -> int:
        return await self._inner.revision()

    async def close(self) -> None:
        await self._inner.close()

    async def rewrite(self) -> int:
        """Brings every value to the form in which it would be written now; returns how many it changed.

        This is what makes a new first key hold for old objects. Somebody else's write in between is as good.
        """
        changed, after = 0, ""
        while True:
            page = await self._inner.list(ROOT, after=after, limit=PAGE)
            for record in page.records:
                transformer = self._of(record.key)
                if transformer is not None and transformer.is_stale(record.value):
                    write = Put(record.key, self._opened(record).value)
                    result = await self.txn([Compare(record.key, record.mod_revision)], [write])
                    changed += result.succeeded
            if not page.remaining:
                return changed
            after = page.records[-1].key

    def _of(self, key: str) -> Transformer | None:
        """The transformer of a key /registry/GROUP/RESOURCE/..., remembered by resource."""
        end = key.find("/", key.find("/", len(ROOT)) + 1)
        place = key[:end]
        if place not in self._transformers:
            group, _, resource = place[len(ROOT) :].partition("/")
            found = self._encryption.transformer("" if group == "core" else group, resource)
            self._transformers[place] = found
        return self._transformers[place]

    def _sealed(self, write: Write) -> Write:
        if not isinstance(write, Put):
            return write
        transformer = self._of(write.key)
        return write if transformer is None else Put(write.key, transformer.seal(write.key, write.value))

    def _opened(self, record: Record) -> Record:
        transformer = self._of(record.key)
        if transformer is None:
            return record
        try:
            return record._replace(value=transformer.open(record.key, record.value))
        except DecryptionError as error:
            raise StoreError(str(error)) from error

    def _event(self, event: Event) -> Event:
        transformer = self._of(event.key)
        if transformer is None:
            return event
        value = None
        try:
            if event.value is not None:
                value = transformer.open(event.key, event.value)
        except DecryptionError as error:
            raise StoreError(str(error)) from error
        return event._replace(value=value, previous=event.previous and self._opened(event.previous))
