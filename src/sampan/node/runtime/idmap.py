"""Mounts that show files under other owners: what user 0 owns on disk, a user namespace's first user owns there.

So a pod with users of its own has its image and its volumes without a file being changed. Which file systems can do
this depends on the kernel.

https://man7.org/linux/man-pages/man2/mount_setattr.2.html and https://docs.kernel.org/filesystems/idmappings.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every machine
_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, namespace: str, *, recursive: bool = False) -> None:
    """Shows `source` (a directory or a file) at `target`, as the user namespace in that file maps owners.

    Recursive: and all that is mounted below it. `target` is made. OSError, with a text that says what can't be.
    """
    whole = _AT_RECURSIVE if recursive else 0
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | whole
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags, what=source)
    try:
        _map(tree, namespace, whole, source)
        _make_alike(source, target)
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH, what=target)
    finally:
        os.close(tree)


@cache
def is_possible() -> bool:
    """Whether this kernel knows such mounts at all."""
    number = _libc.syscall(_MOUNT_SETATTR, -1, b"", 0, None, 0)
    return number == 0 or ctypes.get_errno() != errno.ENOSYS


def _map(tree: int, namespace: str, whole: int, source: str) -> None:
    users = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, users)
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | whole, attributes, len(attributes), what=source)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        text = f"failed to set MOUNT_ATTR_IDMAP on {source}: {os.strerror(errno.EINVAL).lower()}"
        why = "maybe the filesystem used doesn't support idmap mounts on this kernel?"
        raise OSError(errno.EINVAL, f"{text} ({why})") from error
    finally:
        os.close(users)


def _make_alike(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    if os.path.isdir(source):
        os.makedirs(target, mode=0o700, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def _call(number: int, *arguments: int | bytes, what: str) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
