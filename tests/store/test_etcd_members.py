"""Three members that are one etcd: one of them may go at any moment, also the leader, and nobody has to know."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from sampan.store.etcd import EtcdStore  # noqa: E402
from sampan.store.protocol import Compare, Event, Put, StoreError  # noqa: E402
from tests.store.etcd import Etcd, Members  # noqa: E402

pytestmark = pytest.mark.slow
WRITERS = 4


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Members]:
    made = Members(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def store(etcd: Members) -> AsyncIterator[EtcdStore]:
    made = await EtcdStore.open(etcd.url)
    yield made
    await made.close()


class Writer:
    """Counts up in a key of its own, each time from what it was; `acknowledged` is what it was told."""

    def __init__(self, store: EtcdStore, key: str) -> None:
        self._store, self.key = store, key
        self.acknowledged: dict[int, int] = {}
        self.unknown: set[int] = set()
        self._revision = 0
        self.count = 0

    async def run(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.count += 1
            try:
                write = Put(self.key, b"%d" % self.count)
                result = await self._store.txn((Compare(self.key, self._revision),), (write,))
                assert result.succeeded, "nobody else writes here"
                self.acknowledged[result.revision] = self.count
                self._revision = result.revision
            except StoreError:
                self.unknown.add(self.count)
                record = await self._store.get(self.key)
                self._revision = record.mod_revision if record else 0


async def history(store: EtcdStore) -> list[Event]:
    return await store._events(1, await store.revision())


async def leader(etcd: Members) -> Etcd:
    async with asyncio.timeout(60):
        while (found := await asyncio.to_thread(etcd.leader)) is None:
            await asyncio.sleep(0.05)
    return found


def check(writers: list[Writer], events: list[Event], seen: list[Event]) -> None:
    """What was acknowledged is there, once and in order; no revision was given out twice; the watch has all of it."""
    assert [(event.key, event.revision, event.value) for event in seen] == [
        (event.key, event.revision, event.value) for event in events
    ]
    assert all(before.revision < after.revision for before, after in pairwise(events))
    for writer in writers:
        own = {event.revision: int(event.value or b"0") for event in events if event.key == writer.key}
        assert writer.acknowledged.items() <= own.items()
        assert set(own.values()) <= set(writer.acknowledged.values()) | writer.unknown
        assert all(before < after for before, after in pairwise(own.values()))
    together = [revision for writer in writers for revision in writer.acknowledged]
    assert len(together) == len(set(together))


@pytest.mark.parametrize("who", ["the leader", "another", "the one in use"])
async def test_a_member_is_killed_while_many_write(etcd: Members, store: EtcdStore, who: str) -> None:
    """No acknowledged write is lost and none is done twice; writers and watches go on at the others."""
    first = await leader(etcd)
    used = etcd.all[store._client._current]
    killed = {"the leader": first, "the one in use": used}.get(who) or next(m for m in etcd.all if m is not first)
    writers = [Writer(store, f"w/{n}") for n in range(WRITERS)]
    seen: list[Event] = []
    goal: list[int] = []

    async def read() -> None:
        async for batch in store.watch("w/", 1):
            seen.extend(batch.events)
            if goal and batch.revision >= goal[0]:
                return

    reader = asyncio.ensure_future(read())
    target = dict.fromkeys(writers, 20)
    running = [asyncio.ensure_future(w.run(lambda w=w: len(w.acknowledged) >= target[w])) for w in writers]  # type: ignore[misc]
    async with asyncio.timeout(90):
        while any(len(writer.acknowledged) < 5 for writer in writers):
            await asyncio.sleep(0.01)
        killed.stop()
        for writer in writers:
            target[writer] = len(writer.acknowledged) + 20
        await asyncio.gather(*running)
        goal.append(await store.revision())
        await store.txn((), (Put("end", b""),))
        await reader
    check(writers, [event for event in await history(store) if event.key != "end"], seen)


async def test_a_member_stands_still(etcd: Members, store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers nothing, without its connection breaking, is left for another one; its watch too."""
    monkeypatch.setattr("sampan.store.etcd_client.TRY_SECONDS", 0.5)
    watch = store.watch("", 1)
    await store.txn((), (Put("a", b""),))
    used = etcd.all[store._client._current]
    used.pause()
    try:
        async with asyncio.timeout(60):
            result = await store.txn((Compare("b", 0),), (Put("b", b""),))
            found: list[Event] = []
            while not found or found[-1].revision < result.revision:
                found += (await anext(watch)).events
    finally:
        used.go_on()
    assert [event.key for event in found] == ["a", "b"]


async def test_without_a_majority(etcd: Members, store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three gone: reads and writes fail with the reason, in time; with one back, all goes on."""
    await store.txn((), (Put("a", b""),))
    for member in etcd.all[:2]:
        member.stop()
    monkeypatch.setattr("sampan.store.etcd_client.CALL_SECONDS", 3.0)
    monkeypatch.setattr("sampan.store.etcd_client.TRY_SECONDS", 1.0)
    with pytest.raises(StoreError, match="etcd"):
        async with asyncio.timeout(60):
            await store.get("a")
    monkeypatch.setattr("sampan.store.etcd_client.CALL_SECONDS", 60.0)
    etcd.all[0].start()
    assert (await store.get("a")) is not None
    assert (await store.txn((Compare("b", 0),), (Put("b", b""),))).succeeded
