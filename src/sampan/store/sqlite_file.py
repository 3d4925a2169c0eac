"""SqliteFile: the database file itself: who may open it, with which settings, and its tables.

One row per change, in `record`. Its id carries the revision (upper bits) and the place within the
transaction (lower 16 bits), so that the table itself is in revision order. `current` marks the newest,
not deleted, version of a key; a NULL value is a deletion. Partial indexes keep both questions asked
most often short: what is live, and what may be forgotten.

Formats: 1 has no checksums, 2 is the same with a checksum at the end of each page. A file of format 1 becomes one of
format 2 when it is opened.

https://www.sqlite.org/wal.html
"""

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import Any

import apsw

from sampan.kit import files
from sampan.store import checksums
from sampan.store.mark import Mark
from sampan.store.protocol import Record, StoreError

LOG = logging.getLogger(__name__)
SHIFT = 16  # a revision's rows have ids revision << SHIFT and up
PLAIN, CHECKED = 1, 2
BUSY_MILLISECONDS = 1000
PAGE_BYTES = 8192

# Kept small for the reader: history (key, id), live (key), stale (id) are all the indexes.
SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY,
    created INTEGER NOT NULL,
    current INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB
);
CREATE INDEX IF NOT EXISTS history ON record (key, id);
CREATE UNIQUE INDEX IF NOT EXISTS live ON record (key) WHERE current = 1;
CREATE INDEX IF NOT EXISTS stale ON record (id) WHERE current = 0;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('compacted', 1);
"""

READ_STATE = "SELECT (SELECT value FROM meta WHERE name = 'compacted'), (SELECT max(id) FROM record)"


class SqliteFile:
    """The path, held by this process alone from construction to `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = hold(path)
        self._mark: Mark | None = None
        try:
            self._mark = Mark(path)
            self._create()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets another process have the file."""
        if self._mark is not None:
            self._mark.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def mark(self) -> Mark:
        """How far it has come."""
        assert self._mark is not None  # from construction on
        return self._mark

    def connect_writer(self) -> apsw.Connection:
        """The connection that writes: WAL, a sync at each commit, checkpoints only when told."""
        has_checksums = checksums.are_possible()
        db = self._connect(apsw.SQLITE_OPEN_READWRITE)
        try:
            # What is set here is written, and neither a full disk nor a foreign lock is to keep a file from opening.
            if not db.pragma("page_count"):
                if has_checksums:
                    checksums.want(db)
                db.pragma("page_size", PAGE_BYTES)
                db.pragma("auto_vacuum", "INCREMENTAL")
            if db.pragma("journal_mode", "WAL") != "wal":
                raise StoreError(f"{self.path}: this file system has no shared memory for a write-ahead log")
            db.pragma("synchronous", "FULL")
            db.pragma("wal_autocheckpoint", 0)
            db.pragma("journal_size_limit", 16 * 1024 * 1024)
            self._migrate(db)
        except BaseException:
            close(db)
            raise
        return db

    def connect_reader(self) -> apsw.Connection:
        """A connection that only reads."""
        db = self._connect(apsw.SQLITE_OPEN_READWRITE)
        db.pragma("query_only", "ON")
        return db

    def size_bytes(self) -> int:
        """The size of the file and its write-ahead log."""
        return self.path.stat().st_size + self.wal_bytes()

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _connect(self, flags: int) -> apsw.Connection:
        db = apsw.Connection(str(self.path), flags=flags, statementcachesize=64)
        db.set_busy_timeout(BUSY_MILLISECONDS)
        return db

    def _create(self) -> None:
        """An empty file that only its owner reads (it holds Secrets); SQLite's side files inherit the mode."""
        if self.path.exists():
            return
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        files.sync_folder(self.path.parent)

    def _migrate(self, db: apsw.Connection) -> None:
        version, newest = db.pragma("user_version"), CHECKED if checksums.are_possible() else PLAIN
        if version == newest:
            return
        if version > newest:
            why = f"this version knows {CHECKED}" if version > CHECKED else "this apsw was built without checksums"
            raise StoreError(f"{self.path} has format {version}; {why}")
        if version:
            self._upgrade(db)
            return
        db.execute("BEGIN IMMEDIATE")
        db.execute(SCHEMA)
        db.pragma("user_version", newest)
        db.execute("COMMIT")

    def _upgrade(self, db: apsw.Connection) -> None:
        """To pages with checksums. That needs room for a second copy: where there is none, it is tried again at the next start."""
        try:
            if checksums.want(db):
                db.execute("VACUUM")
            db.pragma("user_version", CHECKED)
        except apsw.Error as error:
            if not is_full(error):
                raise
            LOG.warning("%s stays without checksums: the disk has no room for a second copy of it", self.path)
            with contextlib.suppress(apsw.Error):
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # what was written in vain goes


def hold(path: Path) -> int:
    """A lock that ends with the process, or when what is returned is closed. StoreError when another process has it.

    It is on a file beside the database: SQLite's own locks are per process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StoreError(f"{path} is in use by another process") from error
    return lock


def close(db: apsw.Connection) -> None:
    """Closes whatever state it is in."""
    with contextlib.suppress(apsw.Error):
        db.close(force=True)


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room: for pages, or for the memory that readers share."""
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE


def read_state(db: apsw.Connection) -> tuple[int, int]:
    """(the oldest readable revision, the current revision)."""
    oldest, last = one(db, READ_STATE)
    return oldest, max(oldest, (last or 0) >> SHIFT)


def one(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> Any:
    """The only row, or None. It is read to its end: SQLite's log cannot start anew before, even if the transaction is over."""
    rows = db.execute(sql, values).fetchall()
    return rows[0] if rows else None


def record(key: str, value: bytes, created: int, row_id: int) -> Record:
    """A row as a Record."""
    return Record(key, value, created, row_id >> SHIFT)
