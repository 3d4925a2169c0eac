"""Who is at work below a store's `builds`: every folder there is locked by its process, so that nobody else takes it away.

`work-*` are builds, `debootstrap-*` root file systems that are being made, `cache-*` what commands keep for the next build.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sampan.node.images import rooted


@contextlib.contextmanager
def locked(parent: Path) -> Iterator[None]:
    """Makes the folder; nobody else begins or clears there meanwhile."""
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = _opened(parent)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def make(parent: Path, prefix: str) -> tuple[str, int]:
    """A new folder, and the descriptor that says until it is closed that somebody works there; `locked` is held."""
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    fd = _opened(Path(folder))
    fcntl.flock(fd, fcntl.LOCK_EX)
    return folder, fd


def is_building(parent: Path) -> bool:
    """Whether a build is under way."""
    return any(_is_in_use(folder) for folder in parent.glob("work-*"))


def clear(parent: Path) -> None:
    """Takes away what killed debootstraps left and, unless a build is under way, what commands kept. OSError."""
    if not parent.is_dir():
        return
    with locked(parent):
        left = [folder for folder in parent.glob("debootstrap-*") if not _is_in_use(folder)]
        left += [] if is_building(parent) else parent.glob("cache-*")
        for folder in left:
            rooted.remove_tree(str(folder))


def _is_in_use(folder: Path) -> bool:
    try:
        fd = _opened(folder)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
