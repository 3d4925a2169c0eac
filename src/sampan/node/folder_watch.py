"""A folder's changes, as the kernel tells of them (inotify); and a look from time to time, in case it can't.

A path that isn't a folder, or isn't there yet, is watched through the folder that holds it.
"""

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path
from types import TracebackType
from typing import Self

_BYTES = 64 * 1024
_CLOSE_WRITE, _MOVED, _CREATED, _DELETED, _SELF = 0x8, 0xC0, 0x100, 0x200, 0xC00


class FolderWatch:
    """`wait` returns after a change since the last one, or when that many seconds are over."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._changed = asyncio.Event()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            with contextlib.suppress(NotImplementedError):  # a loop in virtual time looks from time to time
                asyncio.get_running_loop().add_reader(self._fd, self._drain)
        self._watch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _watch(self) -> None:
        """Watches what is there now; what is watched already stays so."""
        if self._fd >= 0:
            folder = self._path if self._path.is_dir() else self._path.parent
            mask = _CLOSE_WRITE | _MOVED | _CREATED | _DELETED | _SELF
            self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)

    def _drain(self) -> None:
        try:
            os.read(self._fd, _BYTES)
        except BlockingIOError:
            return
        self._changed.set()

    async def wait(self) -> None:
        """Returns after a change, or after the seconds."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()
        self._watch()
