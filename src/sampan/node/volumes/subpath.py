"""subPath: a path inside a volume, opened without ever leaving it.

A container of the same pod may exchange directories for links while we look, so no path is checked and
then used (CVE-2021-25741): the kernel resolves it below the volume (openat2), and what was opened is bind
mounted by its descriptor to a place of ours, which is what the container gets.

https://man7.org/linux/man-pages/man2/openat2.2.html
"""

import ctypes
import errno
import os
import struct
from pathlib import Path, PurePosixPath

from sampan.node.volumes import aside, mounts
from sampan.node.volumes.failure import VolumeFailure

_SYS_OPENAT2 = 437
_BENEATH, _NO_MAGIC_LINKS = 0x08, 0x02

_libc = ctypes.CDLL(None, use_errno=True)


def bind(volume: Path, subpath: str, target: Path, errand: aside.Errand) -> None:
    """Mount `subpath` of the volume at `target` (ours, made here). Missing directories are made.

    VolumeFailure if the path leads out of the volume.
    """
    parts = PurePosixPath(subpath).parts
    if not parts or subpath.startswith("/") or ".." in parts:
        raise _refused(subpath, "must be a relative path without '..'")
    fd = -1
    try:
        with errand.outside():
            fd = _open(volume, parts, subpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        mounts.unmount_below(target)
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind(Path(f"/proc/self/fd/{fd}"), target)
    finally:
        if fd >= 0:
            os.close(fd)


def _open(volume: Path, parts: tuple[str, ...], subpath: str) -> int:
    """A path descriptor of the place, made on the way if it isn't there."""
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for depth in range(1, len(parts)):
            os.close(_step(root, parts[:depth], subpath))
        return _step(root, parts, subpath)
    finally:
        os.close(root)


def _step(root: int, parts: tuple[str, ...], subpath: str) -> int:
    path = "/".join(parts)
    try:
        return _open_beneath(root, path)
    except FileNotFoundError:
        parent = _open_beneath(root, "/".join(parts[:-1]) or ".")
    try:
        os.mkdir(parts[-1], 0o750, dir_fd=parent)
        inner = os.open(parts[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        os.fchmod(inner, 0o777)
        return inner
    except OSError as error:
        raise _refused(subpath, os.strerror(error.errno or errno.EIO)) from error
    finally:
        os.close(parent)


def _open_beneath(root: int, path: str) -> int:
    """openat2 that follows links only as long as they stay below `root`."""
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, _BENEATH | _NO_MAGIC_LINKS)
    fd: int = _libc.syscall(_SYS_OPENAT2, root, os.fsencode(path), how, len(how))
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number == errno.ENOENT:
        raise FileNotFoundError(path)
    reason = "it leads out of the volume" if number in (errno.EXDEV, errno.ELOOP) else os.strerror(number)
    raise _refused(path, reason)


def _refused(subpath: str, why: str) -> VolumeFailure:
    return VolumeFailure(f'failed to prepare subPath "{subpath}" for volumeMount: {why}', "CreateContainerConfigError")
