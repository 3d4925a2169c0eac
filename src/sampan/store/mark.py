"""Mark: the last revision that was acknowledged, in a small file beside the database.

A database that is behind its mark has lost what somebody was told is there: its write-ahead log is gone or
cut short, or an older copy was put in its place. Going on would give revisions out a second time.
"""

import contextlib
import logging
import os
from pathlib import Path

from sampan.store.protocol import StoreError

LOG = logging.getLogger(__name__)
_DIGITS = 20


class LostRevisionsError(StoreError):
    """The database is older than what was acknowledged."""


class Mark:
    """PATH.mark. It is written without a sync: after a loss of power it may be behind, never ahead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        try:
            self._file = os.open(place(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:  # the database is whole without it
            LOG.warning("no mark is kept of how far the store has come: %s", error)

    def check(self, revision: int) -> None:
        """Raises LostRevisionsError when the database, which is at this revision, should be further."""
        marked = read(self._path)
        if revision < marked:
            raise LostRevisionsError(
                f"{self._path} is older than what this cluster has acknowledged (revision {revision}, after {marked}): "
                "its write-ahead log was removed or damaged, or an older copy was put in its place; put back what is "
                f"missing, or restore a snapshot, or go on with what is there: sampan snapshot restore {self._path}"
            )

    def move(self, revision: int) -> None:
        """To where the database is. What a disk refuses here is no reason to refuse what is written already."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _line(revision), 0)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def place(path: Path) -> Path:
    """Where the mark of a database is."""
    return path.with_name(f"{path.name}.mark")


def read(path: Path) -> int:
    """The revision that the mark of a database has; 0 when there is none that can be read."""
    try:
        return int(place(path).read_bytes()[:_DIGITS])
    except (OSError, ValueError):
        return 0


def write(path: Path, revision: int) -> None:
    """Sets it for a database that nobody has open, and waits until it is on the disk."""
    file = os.open(place(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(file, _line(revision), 0)
        os.fsync(file)
    finally:
        os.close(file)


def _line(revision: int) -> bytes:
    return b"%0*d\n" % (_DIGITS, revision)
