"""What is etcd's own: a server that goes away and comes back, history that is gone meanwhile, lives and limits of keys."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from sampan.store.etcd import EtcdStore  # noqa: E402
from sampan.store.protocol import Compacted, Compare, Delete, Event, Put, StoreError  # noqa: E402
from tests.store.etcd import Etcd  # noqa: E402


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    made = Etcd(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def store(etcd: Etcd) -> AsyncIterator[EtcdStore]:
    made = await EtcdStore.open(etcd.url)
    yield made
    await made.close()


async def put(store: EtcdStore, key: str) -> int:
    return (await store.txn((), (Put(key, b"x"),))).revision


async def take(watch: AsyncIterator[object], revision: int) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(60):
        async for batch in watch:
            events += batch.events  # type: ignore[attr-defined]
            if batch.revision >= revision:  # type: ignore[attr-defined]
                return events
    raise AssertionError("the watch ended")


async def test_restart_loses_nothing(etcd: Etcd, store: EtcdStore) -> None:
    """A killed etcd that comes back has every acknowledged write; watches go on without gap or repeat."""
    watch = store.watch("k/", 1)
    last = [await put(store, f"k/{n}") for n in range(5)][-1]
    etcd.stop()
    writer = asyncio.ensure_future(put(store, "k/late"))
    etcd.start()
    try:
        revision = await writer
    except StoreError:  # it may have been sent while etcd died: then nobody knows
        revision = await put(store, "k/late")
    events = await take(watch, revision)
    assert [event.revision for event in events] == list(range(2, revision + 1))
    assert revision > last
    assert (await store.list("k/")).revision == revision


async def test_history_lost_while_away(etcd: Etcd, store: EtcdStore) -> None:
    """What was compacted while our watch was broken is a gap: watches are told, and new ones work."""
    watch = store.watch("", 1)
    await take(watch, await put(store, "a"))
    store._hub.revision = 1  # as if the watch had broken off before
    for task in tuple(store._tasks._running):
        task.cancel()
    other = await EtcdStore.open(etcd.url)
    for _ in range(3):
        await put(other, "a")
    await other.compact(5)
    store._tasks.spawn(store._follow(), "watch")
    with pytest.raises(Compacted):
        async with asyncio.timeout(60):
            await anext(watch)
    revision = await put(other, "b")
    assert [event.key for event in await take(store.watch("", 5), revision)] == ["b"]
    await other.close()


async def test_two_servers_agree(etcd: Etcd, store: EtcdStore) -> None:
    """Of two servers on one etcd that write the same revision of a key, exactly one wins; both see both's changes."""
    other = await EtcdStore.open(etcd.url)
    watch = other.watch("", 1)
    first = await put(store, "a")
    wins = await asyncio.gather(
        *(s.txn([Compare("a", first)], [Put("a", b"%d" % n)]) for n, s in enumerate((store, other)))
    )
    assert sorted(result.succeeded for result in wins) == [False, True]
    (loser,) = [result for result in wins if not result.succeeded]
    assert loser.found[0] is not None
    assert loser.found[0].mod_revision == first + 1
    assert [event.revision for event in await take(watch, first + 1)] == [first, first + 1]
    await other.close()


async def test_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An etcd that is not there is said to be unavailable, in time."""
    monkeypatch.setattr("sampan.store.etcd_client.CALL_SECONDS", 0.2)
    with pytest.raises(StoreError, match="etcd"):
        await EtcdStore.open(Etcd(tmp_path).url)


async def test_too_large_is_refused(tmp_path: Path) -> None:
    """What etcd's own limits refuse is an error that says so, not a half-written transaction."""
    etcd = Etcd(tmp_path, "--max-txn-ops=100")
    etcd.start()
    store = await EtcdStore.open(etcd.url)
    with pytest.raises(StoreError, match="too many operations"):
        await store.txn((), [Put(f"k/{n}", b"") for n in range(101)])
    assert (await store.list("k/")).records == ()
    await store.close()
    etcd.stop()


async def test_what_has_a_lifetime_goes(etcd: Etcd) -> None:
    """Keys under a prefix with a lifetime go by themselves when they are not written again, as a deletion; others stay."""
    store = await EtcdStore.open(etcd.url, lifetimes={"short/": 1})
    watch = store.watch("", 1)
    await put(store, "short/a")
    await put(store, "long/a")
    gone: list[Event] = []
    async with asyncio.timeout(60):
        while not gone:
            gone = [event for event in (await anext(watch)).events if event.value is None]
    assert [(event.key, event.previous is not None) for event in gone] == [("short/a", True)]
    assert [record.key for record in (await store.list("")).records] == ["long/a"]
    await store.close()


async def test_a_lease_that_ended_is_replaced(etcd: Etcd) -> None:
    """Who writes with a lease that has ended meanwhile gets another one, and the write is done."""
    store = await EtcdStore.open(etcd.url, lifetimes={"short/": 600})
    store._leases._given["short/"] = (12345, store._clock.monotonic() + 600)
    await put(store, "short/a")
    assert store._leases._given["short/"][0] != 12345
    await store.close()


async def test_a_lease_that_always_ended(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write whose second lease is gone too is refused as any other."""
    store = await EtcdStore.open(etcd.url, lifetimes={"short/": 600})

    async def ended(prefix: str, seconds: int) -> int:
        return 12345

    monkeypatch.setattr(store._leases, "_lease", ended)
    with pytest.raises(StoreError, match="lease"):
        await put(store, "short/a")
    await store.close()


async def test_a_full_etcd(tmp_path: Path) -> None:
    """Beyond its quota etcd takes no more: that is said with what to do; deletions go on, and writes when there is room."""
    etcd = Etcd(tmp_path, "--quota-backend-bytes=4194304")
    etcd.start()
    store = await EtcdStore.open(etcd.url)
    with pytest.raises(StoreError, match="its quota is full: make room"):
        for n in range(100):
            await store.txn((), (Put(f"k/{n}", bytes(1 << 18)),))
    kept = (await store.list("k/")).records
    deleted = await store.txn((), tuple(Delete(record.key) for record in kept))
    assert deleted.succeeded
    await store.compact(deleted.revision)
    async with asyncio.timeout(60):  # what is compacted goes by and by
        while not await is_taken(store, "k/again"):
            await make_room(etcd)
    assert [record.key for record in (await store.list("")).records] == ["k/again"]
    await store.close()
    etcd.stop()


async def is_taken(store: EtcdStore, key: str) -> bool:
    try:
        return bool(await put(store, key))
    except StoreError:
        return False


async def make_room(etcd: Etcd) -> None:
    """What etcdctl defrag and etcdctl alarm disarm do."""
    import grpc.aio

    async with grpc.aio.insecure_channel(f"127.0.0.1:{etcd.port}") as channel:

        async def ask(name: str, message: bytes) -> bytes:
            answer: bytes = await channel.unary_unary(f"/etcdserverpb.Maintenance/{name}")(message, timeout=60)
            return answer

        await ask("Defragment", b"")
        if alarm := await ask("Alarm", b""):  # the member, and what is wrong
            await ask("Alarm", b"\x08\x02\x10" + alarm[3:-2] + b"\x18\x01")


def test_an_etcd_that_loses_data_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The versions that can lose what they acknowledged, and no others."""
    from sampan.store.etcd import _check_version
    from sampan.store.etcd_address import Address

    address = Address.parse("etcd://h")
    for version in ("3.4.23", "3.5.3", "3.5.10", "3.5.2", "3.6.0"):
        _check_version(address, version)
    assert [record.getMessage() for record in caplog.records] == [
        "etcd://h:2379 is etcd 3.5.2, which can lose data in a crash: take 3.5.3 or later"
    ]


async def test_an_old_etcd_is_refused(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is too old is named, with the one that is needed."""
    monkeypatch.setattr("sampan.store.etcd_version.LEAST", (99, 1))
    with pytest.raises(StoreError, match=r"is etcd 3\.\d+\.\d+; 99\.1 or later is needed"):
        await EtcdStore.open(etcd.url)
