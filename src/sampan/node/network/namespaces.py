"""Namespaces kept alive by a file: a bind mount of /proc/.../ns/net.

No process holds a pod's network namespace, so there is no pause container: the file does, until it is
unmounted. All functions block for well under a millisecond, but for `enter_new_mounts`, which copies the host's table.

https://man7.org/linux/man-pages/man7/network_namespaces.7.html
"""

import contextlib
import ctypes
import errno
import os
import threading
from pathlib import Path

_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWNET = 0x200, 0x20000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 1 << 14, 1 << 18
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_NSFS_MAGIC = 0x6E736673

_libc = ctypes.CDLL(None, use_errno=True)


def enter_new() -> int:
    """Move the calling thread into a new network namespace and return its descriptor.

    Only in a thread that ends soon. The caller closes the descriptor.
    """
    _check(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(path: str) -> int:
    """The same with the namespace in a file."""
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        move_to(namespace)
    except OSError:
        os.close(namespace)
        raise
    return namespace


def move_to(namespace: int) -> None:
    """Move the calling thread into the namespace of this descriptor; only in a thread that ends soon."""
    _check(_libc.setns(namespace, _CLONE_NEWNET), "setns")


def enter_new_mounts(folder: Path) -> int:
    """Move the calling thread into a new mount namespace with one empty file system; return its descriptor.

    `folder` is where that is put together. Only in a thread that ends soon, which has no /proc any more.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
    made = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount --make-rprivate /")
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        _check(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, b"mode=700"), f"mount tmpfs at {folder}")
        os.chdir(folder)
        _check(_libc.pivot_root(b".", b"."), "pivot_root")
        _check(_libc.umount2(b".", _MNT_DETACH), "umount of all other mounts")
    except OSError:
        os.close(made)
        raise
    return made


def enter_mounts(path: Path) -> None:
    """Move the calling thread into the mount namespace in a file; only in a thread that ends soon."""
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_FS), "unshare(CLONE_FS)")
        _check(_libc.setns(namespace, _CLONE_NEWNS), "setns")
    finally:
        os.close(namespace)


def bind_privately(folder: Path) -> None:
    """The folder is a mount of its own, and what is mounted in it stays there."""
    path = os.fsencode(folder)
    _check(_libc.mount(path, path, None, _MS_BIND, None), f"mount {folder}")
    _check(_libc.mount(b"none", path, None, _MS_PRIVATE, None), f"mount --make-private {folder}")


def detach(path: Path) -> None:
    """Take away whatever is mounted at the path, and in it. Repeating is harmless."""
    while _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        pass
    if (number := ctypes.get_errno()) not in (errno.EINVAL, errno.ENOENT):
        raise OSError(number, f"umount {path}: {os.strerror(number)}")


def bind(namespace: int, path: Path, descriptors: str = "/proc/self/fd") -> None:
    """Bind the namespace to the file: from now on it outlives all who are in it.

    `descriptors` is where this process' are, which need not be the usual place for a thread that has left it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    source = f"{descriptors}/{namespace}"
    _check(_libc.mount(source.encode(), os.fsencode(path), None, _MS_BIND, None), f"mount {path}")


def is_bound(path: Path) -> bool:
    """Whether a namespace is bound to the file: after a reboot the file is there and nothing else."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return ctypes.c_long.from_buffer(buffer).value == _NSFS_MAGIC


def remove(path: Path) -> None:
    """Unbind and delete the file; a namespace nobody else uses ends with it. Repeating is harmless."""
    while is_bound(path):
        _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"umount {path}")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def host_fd() -> int:
    """A descriptor of the agent's own namespace; the caller closes it."""
    return os.open(f"/proc/{os.getpid()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
