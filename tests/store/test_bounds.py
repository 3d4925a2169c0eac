"""What the file takes is bounded, also while others hold it, and what a full disk leaves possible."""

import asyncio
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sampan.store import checkpoints, sqlite_reader, sqlite_writer
from sampan.store.protocol import Compare, Delete, NoSpaceError, Put, StoreError
from sampan.store.sqlite import SqliteStore
from sampan.store.sqlite_file import SqliteFile, close


async def test_a_long_reader_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """Writers go on beside one; the log is tried at each stretch of growth, not at each write, and shrinks afterwards."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(checkpoints, "WAL_BYTES", 100_000)
    monkeypatch.setattr(checkpoints, "PATIENCE_MILLISECONDS", 0)
    path, log = tmp_path / "s.db", tmp_path / "s.db-wal"
    store = SqliteStore.open(path)
    await store.txn((), (Put("a", b""),))
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record").fetchall()
    with caplog.at_level(logging.WARNING):
        for n in range(150):
            await store.txn((), (Put(f"k{n % 9}", b"x" * 4000),))
    pages = log.stat().st_size // 8192
    put_off = [record for record in caplog.records if "put off" in record.message]
    assert 1 <= len(put_off) <= pages / 50 + 1
    reader.execute("ROLLBACK")
    reader.close()
    assert log.stat().st_size > 2 * checkpoints.WAL_BYTES
    await store.compact(await store.revision())
    assert log.stat().st_size <= 2 * checkpoints.WAL_BYTES
    await store.close()


async def test_a_read_that_was_answered_holds_nothing(tmp_path: Path) -> None:
    """Not even where something, such as a debugger, still has its cursor: the log can be moved."""
    store = SqliteStore.open(tmp_path / "s.db")
    await store.txn((), (Put("a", b"1"),))
    held: list[apsw.Cursor] = []
    reader = SqliteFile.connect_reader(store._file)

    def kept(db: apsw.Connection) -> apsw.Cursor:
        held.append(apsw.Cursor(db))
        return held[-1]

    reader.cursor_factory = kept
    assert sqlite_reader.get("a", 0)(reader) is not None
    assert sqlite_reader.page("", "", 10, 0)(reader).records
    await store.txn((), (Put("a", b"2"),))
    other = apsw.Connection(str(tmp_path / "s.db"))
    assert held
    assert other.pragma("page_count")  # so that it knows of the log
    assert other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE) == (0, 0)  # BusyError while anybody reads
    for each in (other, reader):
        each.close()
    await store.close()


async def test_the_log_starts_anew_when_it_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without readers it stays at a few stretches, however much is written."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 50)
    store = SqliteStore.open(tmp_path / "s.db")
    for n in range(400):
        await store.txn((), (Put(f"k{n % 9}", b"x" * 4000),))
    assert (tmp_path / "s.db-wal").stat().st_size < 150 * 8192
    await store.close()


async def test_compaction_goes_on_after_somebody_elses_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails for a foreign lock is refused, and the next one does the work of both."""
    monkeypatch.setattr(sqlite_writer, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr("sampan.store.sqlite_file.BUSY_MILLISECONDS", 1)
    store = SqliteStore.open(tmp_path / "s.db")
    for n in range(50):
        await store.txn((), (Put("a", b"%d" % n),))
    other = apsw.Connection(str(tmp_path / "s.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await store.compact(40)
    other.execute("ROLLBACK")
    await store.compact(51)
    assert other.execute("SELECT count(*) FROM record").fetchall() == [(1,)]
    other.close()
    await store.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "disk", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """With a file, to the last page."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@pytest.mark.root
async def test_a_disk_that_is_full_and_then_is_not(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creations are refused; changes, deletions, reads and watches go on; room is found again without a restart."""
    monkeypatch.setattr(sqlite_writer, "ROOM_SECONDS", 0.0)
    store = SqliteStore.open(disk / "s.db")
    for n in range(20):
        await store.txn((), (Put(f"k{n}", b"x" * 1000),))
    await store.compact(1)  # which makes the reserve
    assert (disk / "s.db.reserve").exists()
    ballast = fill(disk)
    with pytest.raises(NoSpaceError, match="nothing new can be created"):
        for n in range(2000):
            await store.txn((Compare(f"new{n}", 0),), (Put(f"new{n}", b"x" * 3000),))
    watch = store.watch("", await store.revision())
    assert (await store.txn((), (Put("k0", b"changed"), Delete("k1")))).succeeded
    assert [event.key for event in (await anext(watch)).events] == ["k0", "k1"]
    assert await store.get("k1") is None
    with pytest.raises(NoSpaceError):
        await store.txn((), (Put("k0", b"again"), Put("another", b"")))
    assert (await store.get("k0")).value == b"changed"  # type: ignore[union-attr]
    ballast.unlink()
    assert (await store.txn((), (Put("another", b""),))).succeeded
    assert (disk / "s.db.reserve").exists()
    await store.close()


@pytest.mark.root
@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_disk_that_is_full_at_the_start(disk: Path, *, is_closed: bool) -> None:
    """The store opens all the same, after a stop and after a kill, and what is there can be deleted at the first attempt."""
    store = SqliteStore.open(disk / "s.db")
    await store.txn((), (Put("a", b""), Put("b", b"")))
    await store.compact(1)  # which makes the reserve
    if is_closed:
        await store.close()
        fill(disk)
    else:
        fill(disk)
        kept = {path.name: path.read_bytes() for path in disk.glob("s.db*")}
        await store.close()
        for name, content in kept.items():  # as a kill would have left them
            (disk / name).write_bytes(content)
    again = SqliteStore.open(disk / "s.db")
    assert (await again.txn((), (Delete("a"),))).succeeded
    assert [record.key for record in (await again.list("")).records] == ["b"]
    await again.close()


@pytest.mark.root
async def test_the_first_deletion_on_a_full_disk(disk: Path) -> None:
    """It is done, from the room that was kept for it, and not refused first."""
    store = SqliteStore.open(disk / "s.db")
    for n in range(30):
        await store.txn((), (Put(f"k{n}", b"x" * 20_000),))
    await store.compact(1)  # which makes the reserve
    fill(disk)
    for n in range(30):
        assert (await store.txn((), (Delete(f"k{n}"),))).succeeded
    await store.close()


async def test_a_file_that_is_there_is_opened_without_a_write(tmp_path: Path) -> None:
    """Nothing is put into its log by that: neither a full disk nor somebody else's lock is in the way."""
    await SqliteStore.open(tmp_path / "s.db").close()
    file = SqliteFile(tmp_path / "s.db")
    db = file.connect_writer()
    assert file.wal_bytes() == 0
    close(db)
    file.release()


async def test_a_commit_that_is_said_to_have_failed_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the file all the same: who wrote is refused, and watches are told of what happened."""
    store = SqliteStore.open(tmp_path / "s.db")
    await store.txn((), (Put("a", b"1"),))
    watch = store.watch("", 2)
    begin = store._writer._begin
    monkeypatch.setattr(store._writer, "_begin", lambda: Unlucky(begin()))
    with pytest.raises(NoSpaceError):
        await store.txn((), (Put("a", b"2"),))
    async with asyncio.timeout(60):
        assert [(event.key, event.value) for event in (await anext(watch)).events] == [("a", b"2")]
    await store.close()


class Unlucky:
    """A connection that says of each commit that there was no room for it."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> object:
        found = self._db.execute(sql, values)  # type: ignore[arg-type]
        if sql == "COMMIT":
            raise apsw.FullError("database or disk is full")
        return found
