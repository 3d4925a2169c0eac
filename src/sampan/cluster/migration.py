"""Migration: all objects of a cluster that is down move from one store to another.

Each write's objects are written together again, in the order of their revisions, so that who is newer stays newer; the
revisions themselves are new ones, all greater than the old store's. Until everything has been read back and compared,
the target bears a mark that it is not complete: then it is of no use to a cluster, and the next attempt begins anew.
The source is only read.
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
    """How many objects there were, their checksum, and the last revision of the source: all new ones are greater."""

    count: int
    checksum: str
    base: int


async def move(source: Store, target: Store, tell: Tell, *, is_ordered: bool) -> Moved:
    """`is_ordered`: the target does concurrent writes in the order in which they were asked for. MigrationError, StoreError."""
    await _check_quiet(source)
    records, base = await contents(source), await source.revision()
    await _empty(target)
    await target.txn((), (Put(INCOMPLETE, b""),))
    await _write(target, records, tell, at_once=TOLD_EVERY if is_ordered else 1)
    written = await contents(target)
    if _order(written) != _order(records) or checksum(written) != checksum(records):
        raise MigrationError("what was written is not what was read: somebody else writes to one of the two stores")
    if await source.revision() != base:
        raise MigrationError("the cluster was written to meanwhile: it must be down")
    await target.txn((), (Put(shifted.BASE, str(base).encode()), Delete(INCOMPLETE)))
    return Moved(len(records), checksum(records), base)


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


async def _empty(target: Store) -> None:
    """Takes away what an attempt before this one left. Raises MigrationError for what is anybody else's."""
    page = await target.list("", limit=PAGE)
    if page.records and await target.get(INCOMPLETE) is None:
        raise MigrationError(f"the target is not empty ({page.records[0].key}): choose another one, or empty it")
    while left := [r for r in (await target.list("", limit=DELETIONS)).records if r.key != INCOMPLETE]:
        await target.txn((), tuple(Delete(record.key) for record in left))


async def _write(target: Store, records: Sequence[Record], tell: Tell, *, at_once: int) -> None:
    done, groups = 0, list(_groups(records))
    for start in range(0, len(groups), at_once):
        some = groups[start : start + at_once]
        await asyncio.gather(*(target.txn((), [Put(r.key, r.value) for r in group]) for group in some))
        before, done = done, done + sum(map(len, some))
        if before // TOLD_EVERY != done // TOLD_EVERY or done == len(records):
            tell(done, len(records))
