"""What is etcd's own: addresses, a server that goes away and comes back, history that is gone meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from sampan.store.etcd import EtcdStore  # noqa: E402
from sampan.store.etcd_address import Address  # noqa: E402
from sampan.store.protocol import Compacted, Compare, Event, Put, StoreError  # noqa: E402
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
    async with asyncio.timeout(20):
        async for batch in watch:
            events += batch.events  # type: ignore[attr-defined]
            if batch.revision >= revision:  # type: ignore[attr-defined]
                return events
    raise AssertionError("the watch ended")


def test_addresses() -> None:
    """etcd://HOST:PORT, with the files of certificates; anything else is refused with the reason."""
    assert Address.parse("etcd://127.0.0.1:2379").target == "127.0.0.1:2379"
    assert Address.parse("etcd://[::1]").target == "[::1]:2379"
    assert Address.parse("etcd://e:1?ca=/a&cert=/b&key=/c") == Address("e", 1, "/a", "/b", "/c")
    for url in ("http://e:1", "etcd://", "etcd://e:1/x", "etcd://a:1,b:2", "etcd://e:1?who=1", "etcd://e:1?cert=/b"):
        with pytest.raises(ValueError, match="etcd|options|go together"):
            Address.parse(url)


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
        async with asyncio.timeout(10):
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
