"""Moving a cluster's objects to another store: all of them, in order, verified; or nothing."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.cli import main, migrate
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


COUNT = 1500
"""So many objects are moved by a command that is killed."""


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
    """Its target is of no use to a cluster; the next attempt goes on from there, in order, and ends well."""
    target = Broken()
    with pytest.raises(StoreError, match="gone"):
        await moved(source, target)
    with pytest.raises(MigrationError, match="broken off: run sampan migrate again"):
        await migration.check_complete(target)
    there = {record.key: record.mod_revision for record in await migration.contents(target)}
    result = await moved(source, target)
    assert 0 < len(there) == result.found < result.count
    await migration.check_complete(target)
    assert await target.get(INCOMPLETE) is None
    after = await migration.contents(target)
    assert {record.key: record.mod_revision for record in after if record.key in there} == there, "written once"
    assert [(r.key, r.value) for r in after] == [(r.key, r.value) for r in await migration.contents(source)]


@pytest.mark.parametrize("change", ["the target", "the source", "a part of a write"])
async def test_an_attempt_that_is_of_no_use(source: MemoryStore, change: str) -> None:
    """When what is there is not what is to come first, all begins anew."""
    target = Broken()
    with pytest.raises(StoreError, match="gone"):
        await moved(source, target)
    first, second = (await migration.contents(target))[:2]
    if change == "the target":
        await target.txn((), (Put("/registry/core/pods/left", b""),))
    elif change == "the source":
        await source.txn((), (Put(first.key, b"newer"),))
    else:
        assert first.mod_revision != second.mod_revision
        target = Broken()
        await target.txn((), (Put(INCOMPLETE, b""),))
        pair = next(group for group in migration._groups(await migration.contents(source)) if len(group) > 1)
        await target.txn((), (Put(pair[0].key, pair[0].value),))
    target.left = -1
    result = await moved(source, target)
    assert result.found == 0
    assert await target.get("/registry/core/pods/left") is None
    assert migration.checksum(await migration.contents(target)) == result.checksum


async def test_one_that_could_not_say_that_it_was_done(source: MemoryStore) -> None:
    """A target that is complete is taken as it is; one that differs by anything is somebody's."""
    target = MemoryStore()
    result = await moved(source, target)
    revision = await target.revision()
    again = await moved(source, target)
    assert (again.checksum, again.base, again.found) == (result.checksum, result.base, result.count)
    assert await target.revision() == revision, "nothing was written"
    await source.txn((), (Put("/registry/more", b""),))
    with pytest.raises(MigrationError, match="the target is not empty"):
        await moved(source, target)


async def test_a_whole_one_of_a_cluster_that_ran_on(source: MemoryStore) -> None:
    """Where nobody but a migration writes, it is of no use to anybody: all begins anew."""
    target = MemoryStore()
    first = await moved(source, target)
    await source.txn((), (Put("/registry/more", b""), Delete("/ranges/x1")))
    again = await shifted.opened(target)
    result = await migration.move(source, again, quiet, is_ordered=False, is_own=True)
    assert (result.found, result.base) == (0, first.base + 1)
    assert migration.checksum(await migration.contents(target)) == result.checksum != first.checksum
    await migration.check_complete(target)
    assert min(r.mod_revision for r in await migration.contents(await shifted.opened(target))) > result.base


def test_the_command_is_killed_before_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database is in its place: the same command finds that it is whole; any other is refused as ever."""
    cluster = Settings("moving", tmp_path / "c", store="etcd://127.0.0.1:1", runtime="simulated")
    cluster.directory.mkdir()
    cluster.save()
    keys, real = ["a", "b"], stores.opened

    async def opened(wanted: Settings) -> Store:
        if wanted.store == "sqlite":
            return await real(wanted)
        made = MemoryStore()
        for key in keys:
            await made.txn((), (Put(f"/registry/core/pods/{key}", b""),))
        return made

    monkeypatch.setattr(stores, "opened", opened)
    asyncio.run(migrate._move(cluster, replace(cluster, store="sqlite")))
    command = ["migrate", "--data-dir", str(cluster.directory), "--to", "sqlite"]
    keys.append("c")
    assert main.run(command) == 1
    assert "state.db is there already" in capsys.readouterr().err
    keys.remove("c")
    cluster.path("state.new").mkdir()
    assert main.run(command) == 0
    assert "2 objects moved and compared, 2 of them by an attempt before" in capsys.readouterr().out
    assert load(cluster.directory) == replace(cluster, store="sqlite")
    assert not cluster.path("state.new").exists()
    cluster.save()
    stores.file(cluster).write_bytes(b"no database" * 1000)
    assert main.run(command) == 1
    assert "state.db is there already" in capsys.readouterr().err


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


@pytest.mark.slow
def test_the_command_is_killed(tmp_path: Path, etcd: Etcd) -> None:
    """Started again, it goes on where it was, both ways; afterwards all is there, in order."""
    cluster = Settings("moving", tmp_path / "c", store="sqlite", runtime="simulated")
    cluster.directory.mkdir()
    cluster.save()
    fill(cluster, COUNT)
    before = checked(cluster)
    killed_once(cluster, etcd.url)
    moved_there = load(cluster.directory)
    assert moved_there is not None
    assert checked(moved_there) == before
    stores.file(cluster).rename(tmp_path / "old.db")
    killed_once(cluster, "sqlite")
    assert checked(cluster) == before
    assert not cluster.path("state.new").exists()


def killed_once(cluster: Settings, target: str) -> None:
    """Migrates, but is killed when the first thousand objects are there; the second time it tells of those first."""
    command = [sys.executable, "-m", "sampan", "migrate", "--data-dir", str(cluster.directory), "--to", target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == f"  1000 of {COUNT} objects\n"
        first.kill()
    now = load(cluster.directory)
    if now is not None and now.store == target:
        return  # it was done before it was killed
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = int(done.stdout.split()[0])
    assert 1000 <= found <= COUNT
    if found < COUNT or target == "sqlite":
        assert f"{found} of them by an attempt before this one" in done.stdout


def checked(cluster: Settings) -> tuple[list[list[str]], str]:
    """Which keys were written together, from the oldest on, and the checksum of all."""

    async def run() -> tuple[list[list[str]], str]:
        store = await stores.opened(cluster)
        found = await migration.contents(store)
        await migration.check_complete(store)
        await store.close()
        return migration._order(found), migration.checksum(found)

    return asyncio.run(run())


def fill(cluster: Settings, count: int = 1) -> None:
    async def run() -> None:
        store = SqliteStore.open(stores.file(cluster))
        await asyncio.gather(*(store.txn((), (Put(f"/registry/core/pods/{n}", b"{}"),)) for n in range(count)))
        await store.close()

    asyncio.run(run())
