"""Moving a cluster's objects to another store: all of them, in order, verified; or nothing."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sampan.cli import main
from sampan.cluster import migration, stores
from sampan.cluster.migration import INCOMPLETE, MigrationError
from sampan.cluster.settings import Settings, load
from sampan.server.api_servers import PLACE
from sampan.store import shifted
from sampan.store.compaction import MARK
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Compacted, Delete, Put, Store, StoreError, Write
from sampan.store.sqlite import SqliteStore
from tests.store.etcd import Etcd


@pytest.fixture
async def source() -> MemoryStore:
    """With keys that are older and newer than others, some of one transaction, some gone."""
    made = MemoryStore()
    for n in range(30):
        await made.txn((), (Put(f"/registry/core/pods/p{n * 7 % 30:02}", b"%d" % n), Put(f"/ranges/x{n // 3}", b"")))
    await made.txn((), (Put("/registry/core/pods/p00", b"again"), Delete("/registry/core/pods/p01")))
    await made.txn((), (Put(MARK, b"3"),))
    return made


@pytest.fixture(params=["memory", "sqlite", pytest.param("etcd", marks=pytest.mark.slow)])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    etcd = Etcd(tmp_path)
    if request.param == "etcd":
        pytest.importorskip("grpc")
        from sampan.store.etcd import EtcdStore

        etcd.start()
        made: Store = await EtcdStore.open(etcd.url)
    else:
        made = MemoryStore() if request.param == "memory" else SqliteStore.open(tmp_path / "new.db")
    yield made
    await made.close()
    etcd.stop()


def quiet(done: int, count: int) -> None:
    """Tells nobody."""


async def moved(source: Store, target: Store) -> migration.Moved:
    return await migration.move(source, target, quiet, is_ordered=isinstance(target, SqliteStore))


async def test_everything_moves_in_order(source: MemoryStore, target: Store) -> None:
    """Keys and values are the same; who was newer is newer, what was written together still is; old revisions are gone."""
    told: list[tuple[int, int]] = []
    result = await migration.move(
        source, target, lambda *told_now: told.append(told_now), is_ordered=isinstance(target, SqliteStore)
    )
    before, base = await migration.contents(source), await source.revision()
    opened = await shifted.opened(target)
    after = await migration.contents(opened)
    assert [(r.key, r.value) for r in after] == [(r.key, r.value) for r in before]
    pairs = list(zip(before, after, strict=True))
    for (one, new), (other, newer) in zip(pairs, pairs[1:], strict=False):
        assert (one.mod_revision < other.mod_revision) == (new.mod_revision < newer.mod_revision)
    assert min(record.mod_revision for record in after) > base
    assert (result.count, result.checksum, result.base) == (len(before), migration.checksum(after), base)
    assert told[-1] == (len(before), len(before))
    with pytest.raises(Compacted):
        await anext(opened.watch("", base))
    await migration.check_complete(opened)
    assert await source.revision() == base


async def test_and_back(source: MemoryStore, target: Store) -> None:
    """A store that was a target can be a source: revisions only grow."""
    await moved(source, target)
    there = await shifted.opened(target)
    back = MemoryStore()
    result = await moved(there, back)
    again = await migration.contents(await shifted.opened(back))
    assert [(r.key, r.value) for r in again] == [(r.key, r.value) for r in await migration.contents(source)]
    assert again[0].mod_revision > result.base > await source.revision()


class Broken(MemoryStore):
    """It fails after so many transactions."""

    left = 20

    async def txn(self, compares, writes: tuple[Write, ...]):  # type: ignore[no-untyped-def, override]
        self.left -= 1
        if not self.left:
            raise StoreError("gone")
        return await super().txn(compares, writes)


async def test_an_attempt_that_breaks_off(source: MemoryStore) -> None:
    """Its target is of no use to a cluster; the next attempt begins anew and ends well."""
    target = Broken()
    with pytest.raises(StoreError, match="gone"):
        await moved(source, target)
    with pytest.raises(MigrationError, match="broken off: run sampan migrate again"):
        await migration.check_complete(target)
    await target.txn((), (Put("/registry/core/pods/left", b""),))
    await moved(source, target)
    assert await target.get("/registry/core/pods/left") is None
    await migration.check_complete(target)
    assert await target.get(INCOMPLETE) is None


async def test_what_is_refused(source: MemoryStore) -> None:
    """A target with anything in it, a source on which servers work, one that is written to meanwhile."""
    taken = MemoryStore()
    await taken.txn((), (Put("mine", b""),))
    with pytest.raises(MigrationError, match=r"the target is not empty \(mine\)"):
        await moved(source, taken)
    assert [record.key for record in (await taken.list("")).records] == ["mine"]

    class Busy(MemoryStore):
        async def txn(self, compares, writes):  # type: ignore[no-untyped-def, override]
            await source.txn((), (Put("/registry/late", b""),))
            return await super().txn(compares, writes)

    with pytest.raises(MigrationError, match="written to meanwhile"):
        await moved(source, Busy())
    await source.txn((), (Put(f"{PLACE}10.0.0.1:6443", b""),))
    with pytest.raises(MigrationError, match=r"API servers work on the store.*10\.0\.0\.1:6443"):
        await moved(source, MemoryStore())


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    pytest.importorskip("grpc")
    made = Etcd(tmp_path / "etcd")
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_the_command(tmp_path: Path, etcd: Etcd, capsys: pytest.CaptureFixture[str]) -> None:
    """There and back: the settings follow, what was is left, and odd wishes are refused with the reason."""
    cluster = Settings("moving", tmp_path / "c", store="sqlite", runtime="simulated")
    cluster.directory.mkdir()
    cluster.save()
    command = ["migrate", "--data-dir", str(cluster.directory), "--to"]
    assert main.run([*command, etcd.url]) == 1
    assert "has no objects yet" in capsys.readouterr().err
    fill(cluster)
    assert main.run([*command, "memory"]) == 1
    assert main.run([*command, "sqlite"]) == 1
    assert "is in sqlite already" in capsys.readouterr().err
    assert main.run([*command, etcd.url]) == 0
    assert "1 objects moved and compared" in capsys.readouterr().out
    found = load(cluster.directory)
    assert found is not None
    assert found.store == etcd.url
    assert main.run([*command, "sqlite"]) == 1
    assert "state.db is there already" in capsys.readouterr().err
    stores.file(cluster).rename(tmp_path / "old.db")
    assert main.run([*command, "sqlite"]) == 0
    assert stores.file(cluster).exists()
    assert load(cluster.directory) == cluster


def fill(cluster: Settings) -> None:
    import asyncio

    async def run() -> None:
        store = SqliteStore.open(stores.file(cluster))
        await store.txn((), (Put("/registry/core/pods/a", b"{}"),))
        await store.close()

    asyncio.run(run())
