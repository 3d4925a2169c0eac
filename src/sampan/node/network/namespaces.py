"""Network namespaces kept alive by a file: a bind mount of /proc/.../ns/net.

No process holds a pod's namespace, so there is no pause container: the file does, until it is
unmounted. All functions block for well under a millisecond.

https://man7.org/linux/man-pages/man7/network_namespaces.7.html
"""

import contextlib
import ctypes
import os
import threading
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
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


def bind(namespace: int, path: Path) -> None:
    """Bind the namespace to the file: from now on it outlives all who are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    source = f"/proc/self/fd/{namespace}"
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
