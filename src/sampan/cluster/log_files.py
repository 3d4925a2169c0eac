"""The processes' own log files, kept to a size: a full one is put aside as NAME.log.1, and the oldest is deleted.

A process writes to its standard error, which whoever started it has opened for it: so what is put aside is the
file behind that, and a new one takes its place there, with the same owner and mode.
"""

import contextlib
import logging
import os
import stat
from pathlib import Path

MAX_BYTES = 16 << 20
MAX_OLD = 3
_OUTPUT, _ERROR = 1, 2


class Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines to standard error, and sees to its file now and then."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._path: Path | None = None
        with contextlib.suppress(OSError):
            self._path = Path(os.readlink(f"/proc/self/fd/{_ERROR}"))

    def emit(self, record: logging.LogRecord) -> None:
        """A disk that refuses a line is no reason to fail."""
        super().emit(record)
        with contextlib.suppress(OSError):
            if self._path is not None and os.fstat(_ERROR).st_size > self._max_bytes:
                put_aside(self._path)


def put_aside(path: Path) -> None:
    """Standard error, which is the file, goes on in a new one; standard output does, if it is the same. Raises OSError.

    The new file is there before the old ones are moved: when it can't be made, nothing is.
    """
    old = os.fstat(_ERROR)
    if not stat.S_ISREG(old.st_mode):
        return
    if not path.exists() or not os.path.samestat(path.stat(), old):  # somebody else moved or deleted it
        return
    output, made = os.fstat(_OUTPUT), path.with_name(f"{path.name}.new")
    made.unlink(missing_ok=True)
    fresh = os.open(made, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IMODE(old.st_mode))
    try:
        with contextlib.suppress(PermissionError):
            os.fchown(fresh, old.st_uid, old.st_gid)
        for number in range(MAX_OLD, 0, -1):
            older = path if number == 1 else _old(path, number - 1)
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, _old(path, number))
        os.replace(made, path)
        os.dup2(fresh, _ERROR)
        if os.path.samestat(output, old):
            os.dup2(fresh, _OUTPUT)
    finally:
        os.close(fresh)


def _old(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
