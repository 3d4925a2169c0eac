"""Migration: all objects of a cluster that is down move from one store to another.

Each write's objects are written together again, in the order of their revisions, so that who is newer stays newer; the
revisions themselves are new ones, all greater than the old store's. Until everything has been read back and compared,
the target bears a mark that it is not complete: then it is of no use to a cluster. The next attempt goes on where that one
broke off, if what it wrote is what is to be written first; else it begins anew. The source is only read.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sampan.server.api_servers import PLACE
from sampan.store import shifted
from sampan.store.compaction import MARK
from sampan.store.protocol import Delete, Put, Record, Store, StoreError

INCOMPLETE = "migration_incomplete"
"""The key of the mark."""
OWN = (PLACE, MARK, shifted.BASE, INCOMPLETE)
"""What a store has of its own, or that goes by itself."""
PAGE = 1_000
DELETIONS = 100
TOLD_EVERY = 1_000

Tell = Callable[[int, int], None]
"""Hears how many objects are done, of how many."""


class MigrationError(StoreError):
    """It can't be done: why, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many objects there were, their checksum, and the last revision of the source: all new ones are greater.

    So many of them were `found`, written by an attempt before.
    """

    count: int
    checksum: str
    base: int
    found: int = 0


async def done(source: Store, target: Store) -> Moved | None:
    """What an attempt before this one moved, if that was all, and is still so. Raises MigrationError, StoreError."""
    return await _done(target, *await _read(source))


async def move(source: Store, target: Store, tell: Tell, *, is_ordered: bool, is_own: bool = False) -> Moved:
    """`is_ordered`: the target does concurrent writes in the order in which they were asked for.

    `is_own`: nobody but a migration writes to the target. Raises MigrationError, StoreError.
    """
    records, base = await _read(source)
    if (before := await _done(target, records, base)) is not None:
        return before
    found = await _begun(target, records)
    if found:
        tell(found, len(records))
    else:
        await _empty(target, is_own=is_own)
    await _write(
        target, records[found:], lambda done: tell(found + done, len(records)), TOLD_EVERY if is_ordered else 1
    )
    written = await contents(target)
    if _order(written) != _order(records) or checksum(written) != checksum(records):
        raise MigrationError("what was written is not what was read: somebody else writes to one of the two stores")
    if await source.revision() != base:
        raise MigrationError("the cluster was written to meanwhile: it must be down")
    await target.txn((), (Put(shifted.BASE, str(base).encode()), Delete(INCOMPLETE)))
    return Moved(len(records), checksum(records), base, found)


async def check_complete(store: Store) -> None:
    """Raises MigrationError for a target of an attempt that was broken off."""
    if await store.get(INCOMPLETE) is not None:
        raise MigrationError("it is the target of a migration that was broken off: run sampan migrate again")


async def contents(store: Store) -> list[Record]:
    """All objects, in the order of their revisions."""
    found: list[Record] = []
    page = await store.list("", limit=PAGE)
    at = page.revision
    while True:
        found += (record for record in page.records if not record.key.startswith(OWN))
        if not page.remaining:
            return sorted(found, key=lambda record: (record.mod_revision, record.key))
        page = await store.list("", after=page.records[-1].key, limit=PAGE, revision=at)


def checksum(records: Iterable[Record]) -> str:
    """SHA-256 over keys and values, in the order of the keys."""
    total = hashlib.sha256()
    for record in sorted(records):
        for part in (record.key.encode(), record.value):
            total.update(b"%d:%b" % (len(part), part))
    return total.hexdigest()


def _order(records: Sequence[Record]) -> list[list[str]]:
    """The keys that share a revision, from the oldest to the newest."""
    return [[record.key for record in group] for group in _groups(records)]


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    for _, group in groupby(records, key=lambda record: record.mod_revision):
        yield list(group)


async def _check_quiet(source: Store) -> None:
    """Raises MigrationError while a control plane works on it."""
    await check_complete(source)
    if servers := (await source.list(PLACE)).records:
        named = ", ".join(record.key.removeprefix(PLACE) for record in servers)
        raise MigrationError(
            f"API servers work on the store, or did so a few seconds ago ({named}): stop all control planes first"
        )


async def _read(source: Store) -> tuple[list[Record], int]:
    """All objects of a cluster that is down, and the last revision."""
    await _check_quiet(source)
    return await contents(source), await source.revision()


async def _done(target: Store, records: Sequence[Record], base: int) -> Moved | None:
    """What an attempt before this one wrote, if that was all, and it could only not say so any more."""
    its_base = await target.get(shifted.BASE)
    if its_base is None or its_base.value != str(base).encode() or await target.get(INCOMPLETE) is not None:
        return None
    written = await contents(target)
    is_same = _order(written) == _order(records) and checksum(written) == checksum(records)
    return Moved(len(records), checksum(records), base, len(records)) if is_same else None


async def _begun(target: Store, records: Sequence[Record]) -> int:
    """How many objects an attempt before this one wrote; 0 when they are not the first of those that are to be written."""
    if await target.get(INCOMPLETE) is None:
        return 0
    written = await contents(target)
    first = records[: len(written)]
    is_start = _order(written) == _order(first) and [r.value for r in written] == [r.value for r in first]
    is_whole = (
        len(written) == len(records) or records[len(written)].mod_revision != records[len(written) - 1].mod_revision
    )
    return len(written) if written and is_start and is_whole else 0


async def _empty(target: Store, *, is_own: bool) -> None:
    """Sets the mark, and takes away what an attempt before left. Raises MigrationError for what is anybody else's."""
    left = (await target.list("", limit=1)).records
    if left and not is_own and await target.get(INCOMPLETE) is None:
        raise MigrationError(f"the target is not empty ({left[0].key}): choose another one, or empty it")
    await target.txn((), (Put(INCOMPLETE, b""),))
    while left:
        left = tuple(r for r in (await target.list("", limit=DELETIONS)).records if r.key != INCOMPLETE)
        if left:
            await target.txn((), tuple(Delete(record.key) for record in left))


async def _write(target: Store, records: Sequence[Record], tell: Callable[[int], None], at_once: int) -> None:
    done, groups = 0, list(_groups(records))
    for start in range(0, len(groups), at_once):
        some = groups[start : start + at_once]
        await asyncio.gather(*(target.txn((), [Put(r.key, r.value) for r in group]) for group in some))
        before, done = done, done + sum(map(len, some))
        if before // TOLD_EVERY != done // TOLD_EVERY or done == len(records):
            tell(done)
