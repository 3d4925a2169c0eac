"""Checkpoints: the write-ahead log moved into the database, after the answers are out.

Somebody who reads for long, such as another process, holds them up; then they are tried again when the log
has grown by as much once more, so that writers do not wait for it.

https://www.sqlite.org/wal.html#checkpointing
"""

import logging

import apsw

from sampan.store.sqlite_file import BUSY_MILLISECONDS, PAGE_BYTES, SqliteFile

log = logging.getLogger(__name__)

CHECKPOINT_PAGES = 2000
WAL_BYTES = 16 * 1024 * 1024
PATIENCE_MILLISECONDS = 50


class Checkpoints:
    """Of one writer's connection."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._pages = 0
        self._due_pages = CHECKPOINT_PAGES

    def watch(self, db: apsw.Connection) -> None:
        """Counts from now on what this connection adds."""

        def grown(_: apsw.Connection, __: str, pages: int) -> int:
            if pages < self._pages:  # it started anew
                self._due_pages = CHECKPOINT_PAGES
            self._pages = pages
            return int(apsw.SQLITE_OK)

        self._pages = self._file.wal_bytes() // PAGE_BYTES
        self._due_pages = CHECKPOINT_PAGES
        db.set_wal_hook(grown)

    def step(self, db: apsw.Connection, *, is_quiet: bool = False) -> None:
        """Moves it if it is long; at a quiet time also what could not be moved before."""
        is_too_long = self._file.wal_bytes() > WAL_BYTES * 2
        if self._pages < self._due_pages and not (is_quiet and is_too_long):
            return
        self._due_pages = self._pages + CHECKPOINT_PAGES
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if is_too_long else apsw.SQLITE_CHECKPOINT_PASSIVE
        db.set_busy_timeout(PATIENCE_MILLISECONDS)
        try:
            db.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            size = self._file.wal_bytes() >> 20
            log.warning("checkpoint of %s put off, its log has %d MiB: %s", self._file.path, size, error)
        finally:
            db.set_busy_timeout(BUSY_MILLISECONDS)
