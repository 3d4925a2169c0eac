"""Keeps container logs small: a few files of a bounded size each, named as the kubelet names them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass

from sampan.meta import timestamps


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of each container's log: this many bytes a file, this many files."""

    max_bytes: int = 10 << 20
    max_files: int = 5


def is_too_large(path: str, kept: Kept) -> bool:
    """Whether the log is to be rotated. A link is never followed."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > kept.max_bytes


def rotate(path: str, now: float, kept: Kept) -> None:
    """Renames the file to `<path>.<time>` and deletes the oldest; whoever writes must reopen it."""
    stamp = timestamps.format(now).replace("-", "").replace(":", "").replace("T", "-").rstrip("Z")
    os.rename(path, f"{path}.{stamp}")
    folder, name = os.path.split(path)
    rotated = sorted(entry for entry in os.listdir(folder) if entry.startswith(name + "."))
    for old in rotated[: max(0, len(rotated) - (kept.max_files - 1))]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, old))


def control(folder: str, message: str) -> None:
    """Writes a message to conmon's control pipe: `1 <height> <width>` or `2 0 0` (reopen the log)."""
    try:
        fd = os.open(os.path.join(folder, "ctl"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return  # conmon has ended
        raise
    try:
        os.write(fd, message.encode())
    finally:
        os.close(fd)
