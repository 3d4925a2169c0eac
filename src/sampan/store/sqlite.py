"""SqliteStore: the store in one SQLite file, durable at every acknowledged write.

One thread writes with group commit, two read; the event loop only waits. Changes are published to
watches on the loop, after their commit and before their writers are answered.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from sampan.store import checksums, keys, sqlite_reader
from sampan.store.protocol import Batch, Compare, FutureRevision, Page, Record, Result, StoreError, Write
from sampan.store.sqlite_file import SqliteFile, close
from sampan.store.sqlite_writer import Group, Outcome, Request, Writer
from sampan.store.watches import Hub

T = TypeVar("T")

READERS = 2
MAX_VALUE_BYTES = 64 * 1024 * 1024
_MEND = "restore a snapshot: sampan snapshot list, sampan snapshot restore FILE"


class SqliteStore:
    """A Store. Belongs to the event loop that first uses it."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._writer = Writer(file, self._deliver)
        self._hub = Hub(self._writer.revision)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sampan-store-reader")
        self._local = threading.local()
        self._connections: list[apsw.Connection] = []

    @classmethod
    def open(cls, path: str | Path) -> "SqliteStore":
        """Opens or creates the file. Raises StoreError: in use by another process, not a store, damaged."""
        file = None
        try:
            file = SqliteFile(Path(path))
            return cls(file)
        except BaseException as error:
            if file is not None:
                file.release()
            if isinstance(error, apsw.Error | OSError):
                raise StoreError(f"cannot open {path}: {_told(error)}") from error
            raise

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """See Store.txn."""
        keys.check_txn(compares, writes)
        for write in writes:
            if len(getattr(write, "value", b"")) > MAX_VALUE_BYTES:
                raise ValueError(f"the value of {write.key} has more than {MAX_VALUE_BYTES} bytes")
        return await self._submit(tuple(compares), tuple(writes), 0)

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """See Store.get."""
        return await self._read(sqlite_reader.get(key, revision))

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See Store.list."""
        return await self._read(sqlite_reader.page(prefix, after, limit, revision))

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """See Store.watch."""
        return self._hub.watch(prefix, after_revision, self._past)

    async def compact(self, revision: int) -> None:
        """See Store.compact."""
        if revision > self._writer.revision:
            raise FutureRevision
        if revision > 0:
            await self._submit((), (), revision)

    def size_bytes(self) -> int | None:
        """See Store.size_bytes."""
        return self._file.size_bytes()

    async def revision(self) -> int:
        """See Store.revision."""
        self._check_open()
        return self._writer.revision

    async def close(self) -> None:
        """See Store.close."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._shut)
        self._hub.close()

    def _shut(self) -> None:
        self._readers.shutdown(wait=True)
        for db in self._connections:
            close(db)
        self._writer.stop()
        self._file.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    async def _submit(self, compares: tuple[Compare, ...], writes: tuple[Write, ...], compact: int) -> Result:
        self._check_open()
        self._loop = loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()

        def done(outcome: Outcome) -> None:
            if future.done():
                return
            if outcome.error is not None:
                future.set_exception(outcome.error)
            elif outcome.result is not None:
                future.set_result(outcome.result)

        self._writer.submit(Request(done, compares, writes, compact))
        return await future

    def _deliver(self, group: Group) -> None:
        """On the writer's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._publish, group)

    def _publish(self, group: Group) -> None:
        self._hub.publish(group.revision, group.events)
        for outcome in group.outcomes:
            outcome.request.done(outcome)

    async def _past(self, prefix: str, after_revision: int, upto_revision: int) -> Batch:
        return await self._read(sqlite_reader.history(prefix, after_revision, upto_revision))

    async def _read(self, read: sqlite_reader.Read[T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._on_reader, read)

    def _on_reader(self, read: sqlite_reader.Read[T]) -> T:
        db: apsw.Connection | None = getattr(self._local, "db", None)
        try:
            if db is None:
                db = self._local.db = self._file.connect_reader()
                self._connections.append(db)
            return read(db)
        except apsw.Error as error:
            if db is not None:
                self._local.db = None
                self._connections.remove(db)
                close(db)
            raise StoreError(f"the store could not read: {_told(error)}") from error


def _told(error: Exception) -> str:
    """With the mend, where the file itself is broken."""
    return f"{checksums.story(error)}; {_MEND}" if checksums.is_damage(error) else checksums.story(error)
