"""Atomic writer: replaces all files of a volume at once, by swapping one symbolic link.

The files are in a directory named after the moment; `..data` leads to it, and each top-level name
leads through `..data`. A reader sees all of the old or all of the new. Everything is done relative to
an opened directory that is not a link, so that nobody can lead the writer elsewhere by replacing the
volume with a link (CVE-2017-1002102).
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from sampan.node.volumes.payload import File, Payload

_DATA = "..data"
_NEW_DATA = "..data_tmp"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write(folder: Path, payload: Payload, stamp: str, group: int | None = None) -> bool:
    """Make the folder hold exactly these files; whether anything changed.

    `stamp` names the new directory: unique in time, such as 2026_01_01_00_00_00.123456789. `group`
    (fsGroup) gets to read all of them.
    """
    root = os.open(folder, _DIRECTORY)
    try:
        if _content(root) == _wanted(payload, group):
            return False
        _swap(root, payload, f"..{stamp}", group)
    finally:
        os.close(root)
    return True


def _swap(root: int, payload: Payload, version: str, group: int | None) -> None:
    old = _link_target(root, _DATA)
    os.mkdir(version, 0o755, dir_fd=root)
    fresh = os.open(version, _DIRECTORY, dir_fd=root)
    try:
        for path, file in sorted(payload.items()):
            _write_file(fresh, path, file, group)
    finally:
        os.close(fresh)
    _unlink(root, _NEW_DATA)
    os.symlink(version, _NEW_DATA, dir_fd=root)
    os.rename(_NEW_DATA, _DATA, src_dir_fd=root, dst_dir_fd=root)
    _link_names(root, {path.partition("/")[0] for path in payload})
    if old and old.startswith("..") and "/" not in old and old != version:
        shutil.rmtree(old, ignore_errors=True, dir_fd=root)


def _write_file(root: int, path: str, file: File, group: int | None) -> None:
    *parents, name = path.split("/")
    folder = os.dup(root)
    try:
        for parent in parents:
            with contextlib.suppress(FileExistsError):
                os.mkdir(parent, 0o755, dir_fd=folder)
            inner = os.open(parent, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as target:
            target.write(file.content)
            if group is not None or file.owner is not None:
                os.fchown(target.fileno(), *(-1 if number is None else number for number in (file.owner, group)))
            os.fchmod(target.fileno(), _mode(file, group))
    finally:
        os.close(folder)


def _link_names(root: int, names: set[str]) -> None:
    """Each top-level name leads through ..data; names of before are taken away."""
    for name in os.listdir(root):
        if not name.startswith("..") and name not in names:
            _unlink(root, name)
    for name in names:
        if _link_target(root, name) != f"{_DATA}/{name}":
            _unlink(root, name)
            os.symlink(f"{_DATA}/{name}", name, dir_fd=root)


def _content(root: int) -> dict[str, tuple[bytes, int]] | None:
    """Path -> (content, mode) of what is there now; None if nothing readable is."""
    version = _link_target(root, _DATA)
    if not version or "/" in version:
        return None
    found: dict[str, tuple[bytes, int]] = {}
    try:
        for folder, _, names, fd in os.fwalk(version, dir_fd=root, follow_symlinks=False):
            for name in names:
                path = os.path.relpath(f"{folder}/{name}", version)
                with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd), "rb") as file:
                    found[path] = (file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    except OSError:
        return None
    return found


def _wanted(payload: Payload, group: int | None) -> dict[str, tuple[bytes, int]]:
    return {path: (file.content, _mode(file, group)) for path, file in payload.items()}


def _mode(file: File, group: int | None) -> int:
    """With fsGroup the group reads what the owner reads."""
    return file.mode if group is None else file.mode | (file.mode & 0o400) >> 3


def _link_target(root: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=root)
    except OSError:
        return None


def _unlink(root: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=root)
