"""A store whose revisions are counted from a base: all it promises stays true, only greater."""

import asyncio

import pytest

from sampan.store import shifted
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Compacted, Compare, Delete, FutureRevision, Put, Record, Store
from sampan.store.shifted import BASE, Shifted

BASE_REVISION = 1000


@pytest.fixture
async def store() -> Store:
    inner = MemoryStore()
    await inner.txn((), (Put(BASE, b"%d" % BASE_REVISION),))
    return await shifted.opened(inner)


async def test_a_store_without_a_base() -> None:
    """It is used as it is."""
    inner = MemoryStore()
    assert await shifted.opened(inner) is inner


async def test_revisions_are_greater(store: Store) -> None:
    """In results, records, pages and watches alike; and compares take them."""
    assert await store.revision() == 1002
    watch = store.watch("k/", 1002)
    assert await store.txn((Compare("k/a", 0),), (Put("k/a", b"1"),)) == (True, 1003, ())
    assert (await store.txn((Compare("k/a", 1003),), (Put("k/a", b"2"),))).succeeded
    refused = await store.txn((Compare("k/a", 3),), (Put("k/a", b"3"),))
    assert refused == (False, 1004, (Record("k/a", b"2", 1003, 1004),))
    assert await store.get("k/a") == Record("k/a", b"2", 1003, 1004)
    assert await store.get("k/a", 1003) == Record("k/a", b"1", 1003, 1003)
    page = await store.list("k/", revision=1003)
    assert (page.revision, [record.mod_revision for record in page.records]) == (1003, [1003])
    await store.txn((), (Delete("k/a"),))
    events = [event for batch in (watch.take_at_once(),) if batch for event in batch.events]  # type: ignore[attr-defined]
    assert [(event.revision, event.previous and event.previous.mod_revision) for event in events] == [
        (1003, None), (1004, 1003), (1005, 1004),
    ]  # fmt: skip


@pytest.mark.parametrize("old", [1, 500, BASE_REVISION])
async def test_the_past_before_the_base(store: Store, old: int) -> None:
    """It is compacted, and never a gap; no compare holds for it."""
    await store.txn((), (Put("a", b""),))
    await store.compact(old)  # no effect
    for read in (store.get("a", old), store.list("", revision=old), anext(store.watch("", old))):
        with pytest.raises(Compacted):
            await read
    assert not (await store.txn((Compare("a", old),), (Put("a", b"2"),))).succeeded


async def test_compaction_and_the_future(store: Store) -> None:
    """Both by the greater revisions."""
    for _ in range(3):
        await store.txn((), (Put("a", b""),))
    await store.compact(1004)
    with pytest.raises(Compacted) as refusal:
        await store.get("a", 1003)
    assert refusal.value.oldest == 1004
    with pytest.raises(FutureRevision):
        await store.get("a", 1006)
    watch = store.watch("", 1005)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await store.txn((), (Put("b", b""),))
    assert [event.revision for event in (await waiting).events] == [1006]
    assert isinstance(store, Shifted)
    await watch.aclose()  # type: ignore[attr-defined]
    await store.close()
