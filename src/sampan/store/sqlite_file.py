"""SqliteFile: the database file itself: who may open it, with which settings, and its tables.

One row per change, in `record`. Its id carries the revision (upper bits) and the place within the
transaction (lower 16 bits), so that the table itself is in revision order. `current` marks the newest,
not deleted, version of a key; a NULL value is a deletion. Partial indexes keep both questions asked
most often short: what is live, and what may be forgotten.

https://www.sqlite.org/wal.html
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Any

import apsw

from sampan.store.protocol import Record, StoreError

SHIFT = 16  # a revision's rows have ids revision << SHIFT and up
SCHEMA_VERSION = 1
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
        self._lock: int | None = None
        self._lock = self._acquire()
        try:
            self._create()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets another process have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def connect_writer(self) -> apsw.Connection:
        """The connection that writes: WAL, a sync at each commit, checkpoints only when told."""
        db = self._connect(apsw.SQLITE_OPEN_READWRITE)
        try:
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

    def _acquire(self) -> int:
        """A lock that ends with the process. On a file beside it: SQLite's own locks are per process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise StoreError(f"{self.path} is in use by another process") from error
        return lock

    def _create(self) -> None:
        """An empty file that only its owner reads (it holds Secrets); SQLite's side files inherit the mode."""
        if self.path.exists():
            return
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _migrate(self, db: apsw.Connection) -> None:
        version = db.pragma("user_version")
        if version == SCHEMA_VERSION:
            return
        if version != 0:
            raise StoreError(f"{self.path} has format {version}; this version knows {SCHEMA_VERSION}")
        db.execute("BEGIN IMMEDIATE")
        db.execute(SCHEMA)
        db.pragma("user_version", SCHEMA_VERSION)
        db.execute("COMMIT")


def close(db: apsw.Connection) -> None:
    """Closes whatever state it is in."""
    with contextlib.suppress(apsw.Error):
        db.close(force=True)


def read_state(db: apsw.Connection) -> tuple[int, int]:
    """(the oldest readable revision, the current revision)."""
    oldest, last = one(db, READ_STATE)
    return oldest, max(oldest, (last or 0) >> SHIFT)


def one(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> Any:
    """The first row, or None."""
    return db.execute(sql, values).fetchone()


def record(key: str, value: bytes, created: int, row_id: int) -> Record:
    """A row as a Record."""
    return Record(key, value, created, row_id >> SHIFT)
