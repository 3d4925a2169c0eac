"""Mounts and unmounts a container's root file system: the image's layers below, its own files above."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from sampan.kit import threads
from sampan.node.runtime import host

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_CLONE_FS = 0x200
_TO_READ = 1 | 2 | 4 | 8  # read only, no set-user-id, no devices, no programs
_OPTIONS_BYTES = 4095


def mount(layers: tuple[str, ...], folder: str, merged: str, owner: int = 0) -> str:
    """Mounts `merged` over the layers (lowest first) and returns it; new files are in `folder`.

    `owner` has the root of an image without layers. OSError, ValueError for too many layers.
    """
    upper, work = (os.path.join(folder, name) for name in ("upper", "work"))
    for path in (upper, work, merged):
        os.makedirs(path, mode=0o755, exist_ok=True)
    os.chown(upper, owner, owner)
    if layers:
        # The merged root shows the upper directory's own mode and owner.
        top = os.stat(layers[-1])
        os.chown(upper, top.st_uid, top.st_gid)
        os.chmod(upper, top.st_mode & 0o7777 or 0o755)
    tail = f",upperdir={upper},workdir={work}{_marks()}"
    lower = list(reversed(layers)) or [_empty(folder)]
    options = _options(lower, tail)
    if len(options) <= _OPTIONS_BYTES:
        _mount(merged, options)
    else:
        _mount_relative(merged, lower, tail)
    return merged


def mount_to_read(layers: tuple[str, ...], target: str, scratch: str) -> None:
    """Mounts the layers (lowest first) at `target` for reading only, and not for running. OSError, ValueError."""
    lower = [*reversed(layers), _empty(scratch)]
    options = _options(lower, _marks())
    if len(options) > _OPTIONS_BYTES:
        raise ValueError(f"an image of {len(layers)} layers is too much for one overlay")
    _mount(target, options, _TO_READ)


def unmount(path: str) -> None:
    """Unmounts, also what is in use; nothing if it is no mount point. OSError."""
    while _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        pass
    number = ctypes.get_errno()
    if number not in (22, 2):
        raise OSError(number, os.strerror(number), path)


def mounts_below(folder: str) -> list[str]:
    """The mount points below a directory, the deepest first."""
    prefix = os.path.realpath(folder) + "/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        path = line.split(" ")[4].replace("\\040", " ")
        if path.startswith(prefix):
            found.append(path)
    return sorted(found, key=lambda path: (-path.count("/"), path))


def _marks() -> str:
    """In a user namespace only users' attributes can say that a directory hides what is below it."""
    return ",userxattr" if host.is_rootless() else ""


def _empty(folder: str) -> str:
    path = os.path.join(folder, "empty")
    os.makedirs(path, exist_ok=True)
    return path


def _options(lower: list[str], tail: str) -> bytes:
    return os.fsencode("lowerdir=" + ":".join(path.replace("\\", "\\\\").replace(":", "\\:") for path in lower) + tail)


def _mount_relative(merged: str, lower: list[str], tail: str) -> None:
    """With the layers' names only, from a thread whose working directory is where they are and is no one else's."""
    folder = os.path.dirname(lower[0])
    options = _options([os.path.relpath(path, folder) for path in lower], tail)
    if len(options) > _OPTIONS_BYTES:
        raise ValueError(f"an image of {len(lower)} layers is too much for one overlay")
    failures: list[OSError] = []

    def mount_there() -> None:
        try:
            _check(_libc.unshare(_CLONE_FS), folder)
            os.chdir(folder)
            _mount(merged, options)
        except OSError as error:
            failures.append(error)

    threads.start(mount_there, "sampan-overlay").join()
    if failures:
        raise failures[0]


def _mount(merged: str, options: bytes, flags: int = 0) -> None:
    _check(_libc.mount(b"overlay", os.fsencode(merged), b"overlay", flags, options), merged)


def _check(result: int, path: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
