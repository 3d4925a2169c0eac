"""Loops: block devices over files, for volumes of the node's own disk that are to be devices.

https://man7.org/linux/man-pages/man4/loop.4.html
"""

import errno
import fcntl
import os
import threading
from pathlib import Path

_SET_FD, _CLEAR_FD, _SET_CAPACITY, _GET_FREE = 0x4C00, 0x4C01, 0x4C07, 0x4C82
_CONTROL = Path("/dev/loop-control")
_TRIES = 64

_one_by_one = threading.Lock()


def attach(file: Path, size: int) -> Path:
    """The device over the file, which is made, or made larger, to this size in bytes. Repeating is harmless."""
    with _one_by_one:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            grows = os.fstat(descriptor).st_size < size
            if grows:
                os.truncate(descriptor, size)
            found = _of(file)
            device = found or _fresh(descriptor)
            if grows and found:
                _ask(device, _SET_CAPACITY)
            return device
        finally:
            os.close(descriptor)


def detach(file: Path) -> None:
    """The file has no device any more, as soon as nobody has it open. Repeating is harmless."""
    with _one_by_one:
        device = _of(file)
        if device is not None:
            _ask(device, _CLEAR_FD)


def _of(file: Path) -> Path | None:
    wanted = os.path.realpath(file)
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = path.read_text().rstrip("\n")
        except OSError:
            continue
        if backing == wanted:
            return Path("/dev") / path.parent.parent.name
    return None


def _fresh(descriptor: int) -> Path:
    """A free device, which somebody else may take at the same time."""
    for _ in range(_TRIES):
        with _CONTROL.open("rb") as control:
            device = Path(f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}")
        try:
            _ask(device, _SET_FD, descriptor)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            continue
        return device
    raise OSError(errno.EBUSY, "no loop device is free")


def _ask(device: Path, what: int, value: int = 0) -> None:
    opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(opened, what, value)
    finally:
        os.close(opened)
