"""Copies of a database: made while it is in use, and put in the place of one that is not.

A copy is one moment's: all of what was acknowledged until then, and nothing by halves. What is put in place
jumps to a revision above all that were ever served, and remembers nothing of the past, so that whoever goes on
from an older revision is told (`Compacted`) instead of being served another history.

https://www.sqlite.org/lang_vacuum.html#vacuuminto
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from sampan.kit import files
from sampan.store import checksums, mark
from sampan.store.protocol import StoreError
from sampan.store.shifted import BASE
from sampan.store.sqlite_file import CHECKED, close, hold, one, read_state

JUMP = 1_000_000_000
"""More revisions than a cluster makes between a copy and the day when it is needed."""

NO_LIMIT_PAGES = 2**31 - 1
SIDE_FILES = ("-wal", "-shm")
_VALUE = "SELECT value FROM record WHERE key = ? AND current = 1"


def save(path: Path, target: Path) -> int:
    """Copies a database, whether somebody has it open or not; returns its revision. Raises StoreError."""
    db = _open(path)
    made = target.with_name(f"{target.name}.part")
    try:
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # private from the first byte on
        try:
            # All of the copy is kept in memory until its first page is written: only then the pages get their checksums.
            db.pragma("cache_size", NO_LIMIT_PAGES)
            db.execute("VACUUM INTO ?", (str(made),))
            _sync(made)
            files.put_in_place(made, target)
        finally:
            made.unlink(missing_ok=True)
        return revision(target)
    except apsw.Error as error:
        raise StoreError(f"cannot copy {path}: {checksums.story(error)}") from error
    finally:
        close(db)


def revision(path: Path) -> int:
    """The revision that a copy has, from its base on. Raises StoreError when it is damaged or no store."""
    db = _open(path)
    try:
        if (found := db.pragma("integrity_check")) != "ok":
            raise StoreError(f"{path} is damaged: {found}")
        return read_state(db)[1] + _base(db)
    except apsw.Error as error:
        raise StoreError(f"{path} is damaged, or no store: {checksums.story(error)}") from error
    finally:
        close(db)


def value(path: Path, key: str) -> bytes | None:
    """What is stored under a key; None when it is not there, or the database can't be read."""
    if not path.exists():
        return None
    with contextlib.suppress(apsw.Error, StoreError):
        db = _open(path)
        try:
            found = one(db, _VALUE, (key,))
            return bytes(found[0]) if found is not None else None
        finally:
            close(db)
    return None


def put_in_place(copy: Path, path: Path) -> int:
    """Makes a copy the database at once; returns the revision it goes on from. See `prepared`. Raises StoreError."""
    with prepared(copy, path) as ready:
        ready.swap()
    return ready.revision


@dataclass(frozen=True, slots=True)
class Prepared:
    """A copy, whole and on the disk, that goes on from the revision; `inner` is the same without its base."""

    fresh: Path
    path: Path
    revision: int
    inner: int

    def swap(self) -> None:
        """Makes it the database, in a step that happens or does not. What was there is kept as PATH.replaced."""
        _keep_old(self.path)
        files.put_in_place(self.fresh, self.path)
        mark.write(self.path, self.inner)


@contextlib.contextmanager
def prepared(copy: Path, path: Path) -> Iterator[Prepared]:
    """All that can fail of putting a copy in the database's place. Until the end nobody opens that. Raises StoreError."""
    fresh = path.with_name(f"{path.name}.restored")
    lock = hold(path)
    try:
        save(copy, fresh)
        own = _own_base(fresh)
        base, last = _last(path, own)
        reached = max(revision(fresh), last, mark.read(path) + base) + JUMP
        _jump(fresh, reached - own)
        yield Prepared(fresh, path, reached, reached - own)
    finally:
        fresh.unlink(missing_ok=True)
        os.close(lock)


def _jump(path: Path, revision: int) -> None:
    """Only what is live stays, and the past up to the revision counts as forgotten."""
    db = _open(path)
    try:
        db.pragma("journal_mode", "DELETE")
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM record WHERE current = 0")
        db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,))
        db.execute("COMMIT")
    except apsw.Error as error:
        raise StoreError(f"cannot write {path}: {checksums.story(error)}") from error
    finally:
        close(db)
    _sync(path)


def _last(path: Path, default: int) -> tuple[int, int]:
    """The base of what is to be replaced, and its revision; the default, and 0, when there is nothing that can be read."""
    if path.exists():
        with contextlib.suppress(apsw.Error, StoreError):
            db = _open(path)
            try:
                base = _base(db)
                return base, read_state(db)[1] + base
            finally:
                close(db)
    return default, 0


def _own_base(path: Path) -> int:
    db = _open(path)
    try:
        return _base(db)
    finally:
        close(db)


def _base(db: apsw.Connection) -> int:
    """What is added to the revisions that are in the file (see store.shifted)."""
    found = one(db, _VALUE, (BASE,))
    return int(found[0]) if found is not None else 0


def _keep_old(path: Path) -> None:
    """Under another name, with what is in its log; the last such only."""
    kept = path.with_name(f"{path.name}.replaced")
    for end in ("", *SIDE_FILES):
        Path(f"{kept}{end}").unlink(missing_ok=True)
    if not path.exists():
        return
    with contextlib.suppress(OSError):
        os.link(path, kept)
    for end in SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{end}", f"{kept}{end}")


def _open(path: Path) -> apsw.Connection:
    """Raises StoreError for what is not there, or is no store of a format that is known."""
    checksums.are_possible()
    if not path.exists():
        raise StoreError(f"{path} does not exist")
    db = None
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        db.set_busy_timeout(60_000)
        if not 0 < db.pragma("user_version") <= CHECKED:
            raise StoreError(f"{path} is no store, or one of a newer version")
    except BaseException as error:
        if db is not None:
            close(db)
        if isinstance(error, apsw.Error):
            raise StoreError(f"{path} is damaged, or no store: {checksums.story(error)}") from error
        raise
    return db


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
