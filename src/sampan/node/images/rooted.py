"""Opens paths that strangers named, inside a directory they cannot leave: openat2 with RESOLVE_IN_ROOT.

`..`, absolute paths and symbolic links are all resolved by the kernel as if the directory were `/`, also
while somebody else changes it. See openat2(2); it needs Linux 5.6.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import subprocess

MAX_DEPTH = 300
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Opens the path with the directory as its root and returns a file descriptor (close-on-exec). OSError."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path or ".")
    while True:
        fd: int = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(root_fd),
            ctypes.c_char_p(name),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, os.strerror(number), path)


def open_directory(root_fd: int, path: str) -> int:
    """Opens a directory inside the root."""
    return open_in(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)


def read_file(root_fd: int, path: str, limit: int) -> bytes | None:
    """Reads a regular file of at most `limit` bytes; None if there is none, ValueError if it is more or no file."""
    try:
        fd = open_in(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{path} is not a regular file")
        with os.fdopen(os.dup(fd), "rb") as stream:
            data = stream.read(limit + 1)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return data


def remove_tree(path: str) -> None:
    """Deletes a directory with all below it, however deep; nothing if there is none. OSError if it can't be."""
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(path)
    if os.path.lexists(path):
        # Deeper than Python can follow: containers and images may make any tree they like.
        done = subprocess.run(["rm", "-rf", "--", path], capture_output=True, check=False)
        if done.returncode:
            raise OSError(errno.EIO, done.stderr.decode(errors="replace").strip()[:200], path)


def remove_at(directory_fd: int, name: str, depth: int = 0) -> None:
    """Deletes whatever has this name in the directory, with all below it, following no link. OSError if too deep."""
    if depth > MAX_DEPTH:
        raise OSError(errno.ENAMETOOLONG, "too many directories in each other", name)
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            for child in os.listdir(fd):
                remove_at(fd, child, depth + 1)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=directory_fd)
