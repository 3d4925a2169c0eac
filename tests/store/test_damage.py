"""A file that is not as it was left is found out at the start, before anybody is served from it."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from sampan.store import checksums, copying, mark, shifted
from sampan.store.mark import LostRevisionsError
from sampan.store.protocol import Compacted, Delete, Put, StoreError
from sampan.store.sqlite import SqliteStore
from sampan.store.sqlite_file import PAGE_BYTES
from tests.store.fire import old_format

CHECKED = pytest.mark.skipif(not checksums.are_possible(), reason="apsw was built without checksums")


async def filled(path: Path, count: int = 60) -> SqliteStore:
    store = SqliteStore.open(path)
    for n in range(count):
        await store.txn((), (Put(f"k{n % 20}", b"%d" % n + b"v" * 700),))
    return store


def copy(source: Path, target: Path, *ends: str) -> Path:
    """The database and its side files, as a kill at this moment would leave them."""
    target.mkdir()
    for end in ("", "-wal", ".mark", *ends):
        if Path(f"{source}{end}").exists():
            shutil.copy(f"{source}{end}", target / f"s.db{end}")
    return target / "s.db"


async def test_a_log_that_is_gone_is_missed(tmp_path: Path) -> None:
    """Without its write-ahead log the file lacks what was acknowledged: it is refused, with the mend."""
    store = await filled(tmp_path / "s.db")
    whole, cut = copy(tmp_path / "s.db", tmp_path / "whole"), copy(tmp_path / "s.db", tmp_path / "cut")
    Path(f"{cut}-wal").unlink()
    with pytest.raises(LostRevisionsError, match="after 61.*sampan snapshot restore"):
        SqliteStore.open(cut)
    again = SqliteStore.open(whole)
    assert await again.revision() == 61
    await again.close()
    await store.close()


@pytest.mark.parametrize("harm", [lambda data: data[: len(data) // 2], lambda data: flipped(data, len(data) // 2)])
async def test_a_log_that_is_damaged_is_missed(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    """SQLite drops what is behind a broken frame without a word; the mark knows that there was more."""
    store = await filled(tmp_path / "s.db")
    path = copy(tmp_path / "s.db", tmp_path / "harmed")
    log = Path(f"{path}-wal")
    log.write_bytes(harm(log.read_bytes()))
    with pytest.raises(LostRevisionsError):
        SqliteStore.open(path)
    await store.close()


async def test_an_older_copy_is_recognized_and_can_be_gone_on_with(tmp_path: Path) -> None:
    """It is refused; when it is restored the revision jumps above all that was served, and old watches are told."""
    path = tmp_path / "s.db"
    await (await filled(path, 30)).close()
    shutil.copy(path, tmp_path / "old.db")
    await (await filled(path, 30)).close()
    shutil.copy(tmp_path / "old.db", path)
    with pytest.raises(LostRevisionsError):
        SqliteStore.open(path)
    assert copying.put_in_place(path, path) == 61 + copying.JUMP
    store = SqliteStore.open(path)
    assert await store.revision() == 61 + copying.JUMP
    page = await store.list("")
    assert len(page.records) == 20
    assert max(record.mod_revision for record in page.records) == 31
    for revision in (31, 61, 60 + copying.JUMP):
        with pytest.raises(Compacted):
            await anext(store.watch("", revision))
    assert (await store.txn((), (Put("new", b""),))).revision == 62 + copying.JUMP
    batch = await anext(store.watch("", 61 + copying.JUMP))
    assert [event.key for event in batch.events] == ["new"]
    await store.close()


async def test_a_file_that_was_deleted_is_missed(tmp_path: Path) -> None:
    """An empty store does not take the place of one that was there."""
    await (await filled(tmp_path / "s.db")).close()
    (tmp_path / "s.db").unlink()
    for _ in range(2):
        with pytest.raises(LostRevisionsError):
            SqliteStore.open(tmp_path / "s.db")


async def test_a_mark_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    """Files of a time before marks, and marks that are damaged, are no reason to refuse a whole database."""
    await (await filled(tmp_path / "s.db")).close()
    for content in (b"", b"\0\0\0", b"nonsense"):
        mark.place(tmp_path / "s.db").write_bytes(content)
        store = SqliteStore.open(tmp_path / "s.db")
        revision = (await store.txn((), (Put("a", b""),))).revision
        assert mark.read(tmp_path / "s.db") == revision
        await store.close()


@CHECKED
async def test_a_flipped_bit_is_found_on_every_page(tmp_path: Path) -> None:
    """Wherever it is: the store does not open, or refuses to read, or what it reads is right; a check finds all of them."""
    path = tmp_path / "s.db"
    store = await filled(path)
    expected = (await store.list("")).records
    await store.close()
    data = path.read_bytes()
    refused = 0
    for page in range(len(data) // PAGE_BYTES):
        path.write_bytes(flipped(data, page * PAGE_BYTES + PAGE_BYTES // 2))
        with pytest.raises(StoreError, match="damaged"):
            copying.revision(path)
        try:
            store = SqliteStore.open(path)
        except StoreError as error:
            refused += 1
            assert "sampan snapshot restore" in str(error)
            continue
        try:
            assert (await store.list("")).records == expected
        except StoreError as error:
            refused += 1
            assert "the file is damaged" in str(error)
            assert "sampan snapshot restore" in str(error)
        await store.close()
    assert refused > 3


@pytest.mark.parametrize("pages", [0.5, 1, 3])
async def test_a_truncated_file_is_refused(tmp_path: Path, pages: float) -> None:
    """What is cut off is missed, however little it is."""
    path = tmp_path / "s.db"
    await (await filled(path)).close()
    os.truncate(path, path.stat().st_size - int(pages * PAGE_BYTES))
    with pytest.raises(StoreError, match="damaged"):
        copying.revision(path)
    with pytest.raises(StoreError):
        store = SqliteStore.open(path)
        try:
            await store.list("")
            await store.compact(61)
        finally:
            await store.close()


@CHECKED
async def test_a_file_of_the_first_format_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is in it stays, its past too, and its pages have checksums from then on; the old program refuses it."""
    path = tmp_path / "s.db"
    await asyncio.to_thread(old_format, path)
    assert (pragma(path, "user_version"), path.read_bytes()[20]) == (1, 0)
    store = SqliteStore.open(path)
    assert await store.revision() == 31
    assert (await store.list("")).records[0].key == "old/0"
    event = (await anext(store.watch("", 30))).events[0]
    assert (event.key, event.revision) == ("old/9", 31)
    await store.close()
    assert (pragma(path, "user_version"), path.read_bytes()[20]) == (2, checksums.RESERVED_BYTES)
    monkeypatch.setattr(checksums, "are_possible", lambda: False)
    with pytest.raises(StoreError, match="format 2; this apsw was built without checksums"):
        SqliteStore.open(path)


@CHECKED
async def test_a_file_of_the_first_format_without_room_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is used as it is, which is said; the next start takes it over."""
    path = tmp_path / "s.db"
    await asyncio.to_thread(old_format, path)

    class Full(apsw.Connection):
        def execute(self, sql: str, *values: object) -> object:  # type: ignore[override]
            if sql == "VACUUM":
                raise apsw.FullError("database or disk is full")
            return super().execute(sql, *values)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(apsw, "Connection", Full)
        store = SqliteStore.open(path)
        assert (await store.txn((), (Put("a", b""),))).revision == 32
        await store.close()
    assert "stays without checksums" in caplog.text
    assert pragma(path, "user_version") == 1
    store = SqliteStore.open(path)
    assert len((await store.list("")).records) == 21
    await store.close()
    assert pragma(path, "user_version") == 2


async def test_a_mark_that_cannot_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The store works without, and says so."""
    mark.place(tmp_path / "s.db").mkdir()
    store = await filled(tmp_path / "s.db", 3)
    assert await store.revision() == 4
    await store.close()
    assert "no mark is kept" in caplog.text


def test_a_lock_that_cannot_be_had(tmp_path: Path) -> None:
    """What the operating system refuses is told as what is wrong with the store."""
    (tmp_path / "s.db.lock").mkdir()
    with pytest.raises(StoreError, match="cannot open .*s.db.lock"):
        SqliteStore.open(tmp_path / "s.db")


async def test_what_has_a_base_never_goes_back(tmp_path: Path) -> None:
    """A copy from before a migration goes on above all that was served since, with the base and without."""
    path = tmp_path / "s.db"
    await (await filled(path, 30)).close()
    copying.save(path, tmp_path / "old")
    path.unlink()
    mark.place(path).unlink()
    store = await filled(path, 30)
    await store.txn((), (Put(shifted.BASE, b"5000000000"),))
    await store.close()
    assert copying.revision(path) == 5_000_000_032
    copying.save(path, tmp_path / "based")
    reached = 5_000_000_032
    for copy, base in (("old", 0), ("based", 5_000_000_000), ("based", 5_000_000_000), ("old", 0)):
        reached += copying.JUMP
        assert copying.put_in_place(tmp_path / copy, path) == reached
        assert mark.read(path) == reached - base
        opened = await shifted.opened(SqliteStore.open(path))
        assert await opened.revision() == reached
        await opened.close()
    copying.put_in_place(tmp_path / "based", path)
    reached += copying.JUMP
    mark.write(path, reached - 5_000_000_000 + 7)  # an older file was put in the place of what was acknowledged
    reached += copying.JUMP + 7
    assert copying.put_in_place(tmp_path / "old", path) == reached
    reached += copying.JUMP
    assert copying.put_in_place(tmp_path / "based", path) == reached
    mark.place(path).unlink()
    assert copying.put_in_place(tmp_path / "old", path) == reached + copying.JUMP


async def test_an_empty_store_starts_again(tmp_path: Path) -> None:
    """When everything is deleted and forgotten, a restart goes on where it was, and watches work."""
    path = tmp_path / "s.db"
    store = await filled(path)
    for record in (await store.list("")).records:
        await store.txn((), (Delete(record.key),))
    await store.compact(await store.revision())
    await store.close()
    store = SqliteStore.open(path)
    assert await store.revision() == 81
    watch = store.watch("", 81)
    assert (await store.txn((), (Put("a", b""),))).revision == 82
    assert [event.key for event in (await anext(watch)).events] == ["a"]
    await store.close()


def pragma(path: Path, name: str) -> object:
    db = apsw.Connection(str(path))
    try:
        return db.pragma(name)
    finally:
        db.close()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :]


async def test_a_copy_larger_than_sqlite_keeps_in_memory(tmp_path: Path) -> None:
    """All of its pages have right checksums, those too that SQLite would write before the first one."""
    store = SqliteStore.open(tmp_path / "s.db")
    for number in range(40):
        await store.txn((), tuple(Put(f"{number}/{key}", os.urandom(2000)) for key in range(50)))
    revision = copying.save(tmp_path / "s.db", tmp_path / "copy")
    assert revision == await store.revision()
    await store.close()
    assert copying.revision(tmp_path / "copy") == revision
