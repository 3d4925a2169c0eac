"""Checksums of the database's pages: what a disk gives back other than it was given is found when it is read.

SQLite's own checksum VFS, which is part of the apsw package: eight bytes at the end of each page.

https://www.sqlite.org/cksumvfs.html
"""

import functools
from pathlib import Path

import apsw

RESERVED_BYTES = 8


@functools.cache
def are_possible() -> bool:
    """Loads it, once for the process. False where apsw was built without."""
    found = sorted(Path(apsw.__file__).parent.glob("sqlite_extra_binaries/cksumvfs.*"))
    if not found:
        return False
    db = apsw.Connection(":memory:")
    try:
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1)
        db.load_extension(str(found[0]))
    except apsw.Error:
        return False
    finally:
        db.close()
    return True


def want(db: apsw.Connection) -> bool:
    """Has an empty database, or one that is vacuumed next, keep them; whether it did not before."""
    if db.reserve_bytes() == RESERVED_BYTES:
        return False
    db.reserve_bytes(None, RESERVED_BYTES)
    return True


def story(error: BaseException) -> str:
    """What went wrong, in words; SQLite's own tell of a wrong checksum as of any failure to read."""
    code = getattr(error, "extendedresult", 0)
    if code == apsw.SQLITE_IOERR_DATA:
        return "the file is damaged: the checksum of a page is wrong"
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return f"the file is damaged: {error}"
    return str(error) or type(error).__name__


def is_damage(error: BaseException) -> bool:
    """Whether it comes from what is in the file, not from the disk or from others."""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError) or (
        getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA
    )
