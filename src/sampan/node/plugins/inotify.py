"""Being told by the kernel when something comes or goes in a directory or below it.

https://man7.org/linux/man-pages/man7/inotify.7.html
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_CREATE, _DELETE, _MOVED_FROM, _MOVED_TO, _ONLYDIR = 0x100, 0x200, 0x40, 0x80, 0x01000000
_WANTED = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO | _ONLYDIR


class Inotify:
    """Watches one directory, and what is below it. `changed` is called after any number of changes."""

    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        """The directory has to be there."""
        self._folder, self._changed = folder, changed
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._add()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def close(self) -> None:
        """Watches no more."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _add(self) -> None:
        """A directory that is watched already stays so."""
        for folder, _, _ in os.walk(self._folder):
            self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _WANTED)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                pass
        self._add()
        self._changed()
