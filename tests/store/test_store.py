"""What every store promises: transactions, reads now and in the past, watches, compaction."""

import asyncio
from itertools import pairwise

import pytest

from sampan.store.protocol import (
    Batch,
    Compacted,
    Compare,
    Delete,
    Event,
    FutureRevision,
    Put,
    Record,
    Store,
    StoreError,
)


async def put(store: Store, key: str, value: bytes = b"x") -> int:
    result = await store.txn((), (Put(key, value),))
    assert result.succeeded
    return result.revision


async def take(watch, revision: int) -> list[Event]:
    """All events up to the revision."""
    events: list[Event] = []
    async with asyncio.timeout(60):
        async for batch in watch:
            events += batch.events
            if batch.revision >= revision:
                return events
    raise AssertionError("the watch ended")


async def test_an_empty_store_has_revision_one(store: Store) -> None:
    """An empty store has revision 1 and no keys."""
    assert await store.revision() == 1
    assert await store.get("a") is None
    page = await store.list("")
    assert (page.revision, page.records, page.remaining) == (1, (), 0)


async def test_each_transaction_gets_the_next_revision(store: Store) -> None:
    """Revisions go up by one; a record knows the one that made it and the one that changed it last."""
    assert await put(store, "a", b"1") == 2
    assert await put(store, "b", b"1") == 3
    assert await put(store, "a", b"2") == 4
    assert await store.get("a") == Record("a", b"2", 2, 4)
    assert await store.revision() == 4


async def test_writes_of_a_transaction_share_a_revision(store: Store) -> None:
    """All writes of one transaction carry one revision."""
    result = await store.txn((), (Put("a", b"1"), Put("b", b"2"), Delete("nothing")))
    assert (result.succeeded, result.revision) == (True, 2)
    assert [r.mod_revision for r in (await store.list("")).records] == [2, 2]


async def test_a_transaction_that_changes_nothing_makes_no_revision(store: Store) -> None:
    """Deleting what is not there, or writing nothing, leaves the revision as it is."""
    assert (await store.txn((), (Delete("a"),))).revision == 1
    assert (await store.txn((Compare("a", 0),), ())).succeeded
    assert await store.revision() == 1


async def test_compares_guard_writes(store: Store) -> None:
    """If one compare does not hold nothing is written, and the current records come back in order."""
    await put(store, "a", b"1")
    result = await store.txn((Compare("b", 0), Compare("a", 1)), (Put("a", b"2"), Put("b", b"2")))
    assert result.succeeded is False
    assert result.revision == 2
    assert result.found == (None, Record("a", b"1", 2, 2))
    assert (await store.txn((Compare("b", 0), Compare("a", 2)), (Put("a", b"2"), Put("b", b"2")))).succeeded


async def test_a_deleted_key_starts_anew(store: Store) -> None:
    """After a deletion the key is absent (0), and a new put creates it again."""
    await put(store, "a")
    assert (await store.txn((Compare("a", 2),), (Delete("a"),))).revision == 3
    assert await store.get("a") is None
    assert (await store.txn((Compare("a", 0),), (Put("a", b"new"),))).succeeded
    assert await store.get("a") == Record("a", b"new", 4, 4)


async def test_of_concurrent_writers_exactly_one_wins(store: Store) -> None:
    """Of many updates that expect one revision, one succeeds."""
    await put(store, "a")
    results = await asyncio.gather(*(store.txn((Compare("a", 2),), (Put("a", b"%d" % n),)) for n in range(30)))
    winners = [n for n, result in enumerate(results) if result.succeeded]
    assert len(winners) == 1
    assert await store.get("a") == Record("a", b"%d" % winners[0], 2, 3)


@pytest.mark.parametrize("writes", [(Put("a", b""), Delete("a")), (Put("", b""),), (Put("\ud800", b""),)])
async def test_odd_transactions_are_refused(store: Store, writes) -> None:
    """A key written twice, an empty key and one without a UTF-8 form are the caller's mistakes."""
    with pytest.raises(ValueError):
        await store.txn((), writes)
    assert await store.revision() == 1


async def test_lists_are_ordered_and_cut_by_prefix(store: Store) -> None:
    """A list has the keys with the prefix, by code point, and no others."""
    names = ["a", "a/", "a/b", "a/b/c", "a/é", "a/\U0001f600", "a/\ud7ff", "a0", "b"]
    for name in reversed(names):
        await put(store, name)
    assert [r.key for r in (await store.list("a/")).records] == sorted(n for n in names if n.startswith("a/"))
    assert [r.key for r in (await store.list("")).records] == sorted(names)
    assert [r.key for r in (await store.list("a/\ud7ff")).records] == ["a/\ud7ff"]


async def test_pages_count_what_remains(store: Store) -> None:
    """A limit cuts the page; the next starts after its last key; remaining counts the rest."""
    for n in range(7):
        await put(store, f"p/{n}")
    await put(store, "q")
    first = await store.list("p/", limit=3)
    assert [r.key for r in first.records] == ["p/0", "p/1", "p/2"]
    assert (first.remaining, first.revision) == (4, 9)
    await store.txn((), (Delete("p/4"),))
    past = await store.list("p/", after="p/2", limit=3, revision=9)
    assert ([r.key for r in past.records], past.remaining, past.revision) == (["p/3", "p/4", "p/5"], 1, 9)
    now = await store.list("p/", after="p/2", limit=3)
    assert ([r.key for r in now.records], now.remaining, now.revision) == (["p/3", "p/5", "p/6"], 0, 10)
    assert (await store.list("p/", after="z")).records == ()


async def test_the_past_can_be_read(store: Store) -> None:
    """Every revision since the compaction reads as it was then."""
    await put(store, "a", b"1")
    await put(store, "a", b"2")
    await store.txn((), (Delete("a"), Put("b", b"1")))
    assert await store.get("a", 1) is None
    assert await store.get("a", 2) == Record("a", b"1", 2, 2)
    assert await store.get("a", 3) == Record("a", b"2", 2, 3)
    assert await store.get("a", 4) is None
    assert [r.key for r in (await store.list("", revision=3)).records] == ["a"]
    assert [r.key for r in (await store.list("", revision=4)).records] == ["b"]


async def test_the_future_cannot_be_read(store: Store) -> None:
    """A revision that has not happened is refused."""
    for read in (store.get("a", 2), store.list("", revision=2), store.compact(2)):
        with pytest.raises(FutureRevision):
            await read


async def test_compaction_forgets_the_past_only(store: Store) -> None:
    """Live keys and everything from the compacted revision on stay readable; what was before is refused."""
    await put(store, "old", b"1")
    await put(store, "a", b"1")
    await put(store, "a", b"2")
    await store.txn((), (Delete("a"),))
    await put(store, "a", b"3")
    await store.compact(4)
    with pytest.raises(Compacted) as refusal:
        await store.get("a", 3)
    assert refusal.value.oldest == 4
    with pytest.raises(Compacted):
        await store.list("", revision=2)
    assert await store.get("a", 4) == Record("a", b"2", 3, 4)
    assert await store.get("a", 5) is None
    assert await store.get("old", 5) == Record("old", b"1", 2, 2)
    await store.compact(3)  # already forgotten: no effect
    await store.compact(6)
    assert await store.revision() == 6
    assert [(r.key, r.mod_revision) for r in (await store.list("")).records] == [("a", 6), ("old", 2)]


async def test_compaction_at_a_deletion_keeps_the_revision(store: Store) -> None:
    """When the newest change is a deletion and is compacted, the revision stays and later writes go on."""
    await put(store, "a")
    await store.txn((), (Delete("a"),))
    await store.compact(3)
    assert await store.revision() == 3
    assert (await store.list("")).revision == 3
    assert await put(store, "a") == 4


async def test_a_watch_has_every_change_in_order(store: Store) -> None:
    """From a revision on: each change once, in order, with what was there before."""
    await put(store, "k/a", b"1")
    watch = store.watch("k/", 2)
    await put(store, "k/a", b"2")
    await put(store, "other")
    await store.txn((), (Delete("k/a"), Put("k/b", b"1")))
    assert await take(watch, 5) == [
        Event("k/a", 3, b"2", Record("k/a", b"1", 2, 2)),
        Event("k/a", 5, None, Record("k/a", b"2", 2, 3)),
        Event("k/b", 5, b"1", None),
    ]


async def test_a_watch_from_the_past_joins_the_present(store: Store) -> None:
    """History and live changes join without a gap or a repeat, also while writers go on."""
    for n in range(1200):
        await store.txn((), (Put(f"k/{n % 7}", b"%d" % n), Put(f"l/{n}", b"")))
    watch = store.watch("k/", 1)

    async def write() -> None:
        for n in range(200):
            await put(store, "k/x", b"%d" % n)

    events, _ = await asyncio.gather(take(watch, 1401), write())
    assert [event.revision for event in events] == list(range(2, 1402))
    assert all(e.previous is None or e.previous.mod_revision < e.revision for e in events)


async def test_a_watch_reports_progress(store: Store) -> None:
    """Changes elsewhere move a watch's revision on, and no event at or before it follows."""
    watch = store.watch("k/", 1)
    await put(store, "other")
    async with asyncio.timeout(60):
        assert await anext(watch) == Batch(2, ())
    await put(store, "k/a")
    assert [event.revision for event in await take(watch, 3)] == [3]


async def test_a_watch_of_the_future_waits(store: Store) -> None:
    """A watch after a revision that is still to come starts there."""
    watch = store.watch("", 3)
    for _ in range(3):
        await put(store, "a")
    assert [event.revision for event in await take(watch, 4)] == [4]


async def test_a_watch_of_a_compacted_revision_is_refused(store: Store) -> None:
    """It gets Compacted and never a stretch with a gap; one from the compacted revision on works."""
    for n in range(5):
        await put(store, "a", b"%d" % n)
    await store.compact(4)
    with pytest.raises(Compacted):
        await anext(store.watch("a", 3))
    with pytest.raises(Compacted):
        await anext(store.watch("a", 0))
    event, *_ = await take(store.watch("a", 4), 6)
    assert event == Event("a", 5, b"3", Record("a", b"2", 2, 4))


async def test_a_slow_watch_is_cut_off(store: Store) -> None:
    """A reader who takes nothing gets Compacted in the end; others go on, memory stays bounded."""
    store._hub.max_events = 10  # type: ignore[attr-defined]
    slow, quick = store.watch("", 1), store.watch("", 1)
    seen = []
    for n in range(30):
        await put(store, f"k{n}")
        seen += (await anext(quick)).events
    assert [event.revision for event in seen] == list(range(2, 32))
    assert len(slow._events) <= 10  # type: ignore[attr-defined]
    with pytest.raises(Compacted):
        await anext(slow)
    with pytest.raises(StopAsyncIteration):
        await anext(slow)


async def test_forgotten_watches_cost_nothing(store: Store) -> None:
    """A watch that nobody holds any more is dropped."""
    watch = store.watch("", 1)
    assert len(store._hub) == 1  # type: ignore[attr-defined]
    del watch
    await put(store, "a")
    assert len(store._hub) == 0  # type: ignore[attr-defined]


async def test_a_cancelled_reader_loses_no_events(store: Store) -> None:
    """Cancelling a wait for the next batch leaves the watch usable."""
    watch = store.watch("", 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(watch)
    await put(store, "a")
    assert [event.revision for event in await take(watch, 2)] == [2]


async def test_closing_ends_everything(store: Store) -> None:
    """After close watches end and writes are refused; closing twice is harmless."""
    watch = store.watch("", 1)
    reader = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    await store.close()
    assert await reader is None
    with pytest.raises(StoreError):
        await store.txn((), (Put("a", b""),))
    await store.close()


async def test_many_writers_get_distinct_revisions(store: Store) -> None:
    """Concurrent writers: revisions without gap or repeat, each visible to a read right after."""

    async def write(n: int) -> int:
        revision = await put(store, f"k/{n}", b"%d" % n)
        record = await store.get(f"k/{n}")
        assert record is not None
        assert record.mod_revision == revision
        return revision

    watch = store.watch("", 1)
    revisions = sorted(await asyncio.gather(*(write(n) for n in range(100))))
    assert revisions == list(range(2, 102))
    events = await take(watch, 101)
    assert all(a.revision < b.revision for a, b in pairwise(events))


async def test_a_writer_finds_its_write_published(store: Store) -> None:
    """When a transaction is done, a watch has it ready: nobody needs to wait for his turn; and nothing comes twice."""
    watch = store.watch("", 1)
    reader = asyncio.ensure_future(take(watch, 3))
    await asyncio.sleep(0)
    revision = await put(store, "a")
    batch = watch.take_at_once()
    assert batch is not None
    assert (batch.revision, [event.key for event in batch.events]) == (revision, ["a"])
    assert watch.take_at_once() is None
    await put(store, "b")
    assert [event.key for event in await reader] == ["b"]
