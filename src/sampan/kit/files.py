"""Small files that are whole at any time, also after a kill or a loss of power: certificates, keys, settings, checkpoints.

New content goes to a file beside, onto the disk, and then in one step into the old one's place. That step is on the
disk too when `write_whole` returns: whoever is told that something was written finds it after the next boot.

https://man7.org/linux/man-pages/man2/fsync.2.html
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What file systems say that can put files onto the disk, but not folders."""
_LEFT_SECONDS = 3600.0
"""So old, what is beside a file is no other writer's who is still at it."""


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Puts it in the place of what was there. Of several writers at once the last one's stays."""
    write_together(path.parent, {path.name: (data, mode)})


def write_together(folder: Path, contents: Mapping[str, tuple[bytes, int]]) -> None:
    """The same for several files, data and mode by name, one after the other; after a loss of power any of them may be missing.

    The folder is put onto the disk once for all of them.
    """
    fresh: dict[str, Path] = {}
    now = 0.0
    try:
        for name, (data, mode) in contents.items():
            fresh[name] = folder / f".{name}-{os.urandom(8).hex()}.new"
            now = _write(fresh[name], data, mode)
        for name, path in fresh.items():
            os.replace(path, folder / name)
        sync_folder(folder)
    except BaseException:
        for path in fresh.values():
            path.unlink(missing_ok=True)
        raise
    for name in contents:
        for left in _beside(folder / name):
            with contextlib.suppress(OSError):
                if now - left.stat().st_mtime > _LEFT_SECONDS:
                    left.unlink()


def _write(fresh: Path, data: bytes, mode: int) -> float:
    """Returns when that was, by the file system's clock."""
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
        return os.fstat(descriptor).st_mtime


def remove(path: Path) -> None:
    """The file, if it is there, and what killed writers have left of it. Nobody writes it now."""
    for each in (path, *_beside(path)):
        each.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether a writer is at it, or was killed: who reads all of a folder passes over it."""
    return path.name.startswith(".") and path.name.endswith(".new")


def put_in_place(fresh: Path, path: Path) -> None:
    """Gives a file, whose content is on the disk, another's name; both are in one folder."""
    os.replace(fresh, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While it is held, nobody else who asks for it is in the folder: others wait. Processes that end let go of it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Room:
    """A folder in which one may want to be alone later, unless somebody is by then, or has removed it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def take(self) -> bool:
        """As `alone`, without waiting, until `leave`; whether that was possible."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._descriptor), self._folder.stat())
        except OSError:
            return False

    def leave(self) -> None:
        os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """What has been made, renamed and removed in it is on the disk from now on, where the file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Iterator[Path]:
    """What writers of this file have begun."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(path.parent):
            if name.startswith(f".{path.name}-") and name.endswith(".new"):
                yield path.with_name(name)
