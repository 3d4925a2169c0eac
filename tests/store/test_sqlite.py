"""What SQLite adds: the file survives, is bounded, is private, and belongs to one process."""

import asyncio
import os
from pathlib import Path

import apsw
import pytest

from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.store import checkpoints, sqlite_writer
from sampan.store.compaction import Compaction
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Compacted, Delete, Put, StoreError
from sampan.store.sqlite import SqliteStore


async def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    """Keys, history, compaction and the revision survive; the revision goes on, also after a deletion."""
    store = SqliteStore.open(tmp_path / "s.db")
    for n in range(4):
        await store.txn((), (Put("a", b"%d" % n),))
    await store.txn((), (Delete("a"),))
    await store.compact(6)
    await store.close()
    store = SqliteStore.open(tmp_path / "s.db")
    assert await store.revision() == 6
    with pytest.raises(Compacted):
        await store.get("a", 5)
    assert (await store.txn((), (Put("b", b""),))).revision == 7
    async for batch in store.watch("", 6):
        assert [event.key for event in batch.events] == ["b"]
        break
    await store.close()


async def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    """While one holds the file another gets a clear StoreError; afterwards it may."""
    store = SqliteStore.open(tmp_path / "s.db")
    with pytest.raises(StoreError, match="in use by another process"):
        SqliteStore.open(tmp_path / "s.db")
    await store.close()
    await SqliteStore.open(tmp_path / "s.db").close()


async def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    """A file that is not a database, or one of another format, is a StoreError and is left as it is."""
    (tmp_path / "s.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError):
        SqliteStore.open(tmp_path / "s.db")
    (tmp_path / "s.db").unlink()
    db = apsw.Connection(str(tmp_path / "s.db"))
    db.pragma("user_version", 99)
    db.close()
    with pytest.raises(StoreError, match="format 99"):
        SqliteStore.open(tmp_path / "s.db")


async def test_the_files_are_private(tmp_path: Path) -> None:
    """Only the owner can read what may hold Secrets."""
    store = SqliteStore.open(tmp_path / "sub" / "s.db")
    await store.txn((), (Put("a", b"secret"),))
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "sub").iterdir()} == {0o600}
    await store.close()


async def test_a_foreign_lock_is_waited_for(tmp_path: Path) -> None:
    """Somebody else's write lock delays writes; reads go on; nothing fails."""
    store = SqliteStore.open(tmp_path / "s.db")
    await store.txn((), (Put("a", b""),))
    other = apsw.Connection(str(tmp_path / "s.db"))
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.ensure_future(store.txn((), (Put("b", b""),)))
    await asyncio.sleep(0.05)
    assert not write.done()
    assert await store.get("a") is not None
    other.execute("ROLLBACK")
    assert (await write).succeeded
    other.close()
    await store.close()


async def test_a_foreign_lock_that_stays_is_an_error_and_no_more(tmp_path: Path, monkeypatch) -> None:
    """After the limit the write fails unacknowledged; when the lock goes, writes work again."""
    monkeypatch.setattr(sqlite_writer, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr("sampan.store.sqlite_file.BUSY_MILLISECONDS", 1)
    store = SqliteStore.open(tmp_path / "s.db")
    other = apsw.Connection(str(tmp_path / "s.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        await store.txn((), (Put("a", b""),))
    other.execute("ROLLBACK")
    assert (await store.txn((), (Put("a", b""),))).revision == 2
    other.close()
    await store.close()


@pytest.mark.slow
async def test_the_file_stays_bounded(tmp_path: Path, monkeypatch) -> None:
    """Rewriting the same keys with compaction leaves file and log at a size, however long it goes on."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 100)
    monkeypatch.setattr(sqlite_writer, "FREE_PAGES", 16)
    monkeypatch.setattr(sqlite_writer, "VACUUM_PAGES", 16)
    store = SqliteStore.open(tmp_path / "s.db")
    sizes = []
    for round_ in range(6):
        for start in range(0, 400, 100):
            await asyncio.gather(
                *(store.txn((), (Put(f"k{n % 50}", os.urandom(2000)),)) for n in range(start, start + 100))
            )
        await store.compact(await store.revision())
        sizes.append((tmp_path / "s.db").stat().st_size + (tmp_path / "s.db-wal").stat().st_size)
        assert len((await store.list("")).records) == 50, round_
    assert max(sizes[2:]) <= 8 * 1024 * 1024
    await store.close()
    db = apsw.Connection(str(tmp_path / "s.db"))
    assert db.execute("SELECT count(*) FROM record").fetchall() == [(50,)]
    assert db.pragma("page_count") * 8192 < 1024 * 1024
    assert db.pragma("integrity_check") == "ok"
    db.close()


async def test_writers_go_on_while_history_is_forgotten(tmp_path: Path, monkeypatch) -> None:
    """Writes that arrive during a compaction are answered before it ends or with it, and watches see all."""
    monkeypatch.setattr(sqlite_writer, "COMPACT_ROWS", 5)
    store = SqliteStore.open(tmp_path / "s.db")
    await asyncio.gather(*(store.txn((), (Put(f"k{n % 3}", b""),)) for n in range(100)))
    compaction = asyncio.ensure_future(store.compact(101))
    results = await asyncio.gather(*(store.txn((), (Put("new", b"%d" % n),)) for n in range(50)))
    await compaction
    assert [result.revision for result in results] == list(range(102, 152))
    assert [r.key for r in (await store.list("")).records] == ["k0", "k1", "k2", "new"]
    await store.close()


def test_compaction_keeps_a_window() -> None:
    """What is older than the window, or beyond the number of revisions, is forgotten; nothing else."""
    loop = SimLoop()
    clock, store = VirtualClock(loop), MemoryStore()
    keeper = Compaction(store, clock, window_seconds=100, step_seconds=10, max_revisions=1000)

    async def writes(count: int) -> None:
        for _ in range(count):
            await store.txn((), (Put("a", b""),))

    task = loop.create_task(keeper.run())
    loop.run_until_complete(writes(5))
    loop.advance(50)
    loop.run_until_complete(writes(5))
    loop.advance(45)
    assert store._oldest == 1
    loop.advance(20)
    assert store._oldest == 6
    loop.run_until_complete(writes(3000))
    loop.advance(10)
    assert store._oldest == 2011
    task.cancel()
    loop.advance(0)
