"""The kernel's word (inotify) of writes and renames beside logs: one descriptor for all who follow one.

A user may have only 128 inotify descriptors, with all other programs: a crowd that follows logs is to leave some.

https://man7.org/linux/man-pages/man7/inotify.7.html
"""

import asyncio
import contextlib
import ctypes
import os
import struct
from typing import ClassVar

LONGEST_SECONDS = 1.0
"""The container's end shows in no file."""

_libc = ctypes.CDLL(None, use_errno=True)
_MODIFY_MOVE_CREATE = 0x2 | 0x80 | 0x100
_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")
_BYTES = 64 * 1024


class Watch:
    """One follower's, of one directory."""

    def __init__(self, directory: str) -> None:
        self._notices = _Notices.of_loop()
        self._changed = asyncio.Event()
        self._notices.add(directory, self._changed)

    @property
    def is_told(self) -> bool:
        """Whether there was a change that nobody has waited for yet."""
        return self._changed.is_set()

    async def wait(self) -> None:
        """A change, or one second."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def close(self) -> None:
        """Ends the watch; harmless when repeated."""
        self._notices.remove(self._changed)


class _Notices:
    """Of one event loop, from the first follower to the last. Without a descriptor nobody is told, and all wait."""

    _known: ClassVar[dict[asyncio.AbstractEventLoop, "_Notices"]] = {}

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fd = -1
        self._numbers: dict[asyncio.Event, int] = {}
        self._followers: dict[int, set[asyncio.Event]] = {}

    @classmethod
    def of_loop(cls) -> "_Notices":
        """The one of this loop."""
        loop = asyncio.get_running_loop()
        if loop not in cls._known:
            cls._known[loop] = cls(loop)
        return cls._known[loop]

    def add(self, directory: str, changed: asyncio.Event) -> None:
        """Sets `changed` after each change there; the same directory has the same number."""
        path, number = os.fsencode(directory), -1
        if self._fd < 0:
            self._open()
        if self._fd >= 0:
            number = _libc.inotify_add_watch(self._fd, path, _MODIFY_MOVE_CREATE)
        self._numbers[changed] = number
        self._followers.setdefault(number, set()).add(changed)

    def remove(self, changed: asyncio.Event) -> None:
        """Sets it no more."""
        number = self._numbers.pop(changed, None)
        if number is None:
            return
        self._followers[number].discard(changed)
        if not self._followers[number]:
            del self._followers[number]
            if number >= 0:
                _libc.inotify_rm_watch(self._fd, number)
        if not self._numbers:
            self._end()

    def _open(self) -> None:
        """There may be no descriptor left just now: the next follower asks again."""
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._read)

    def _end(self) -> None:
        self._known.pop(self._loop, None)
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data, at = os.read(self._fd, _BYTES), 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                if not mask & _IGNORED:
                    self._tell(number)

    def _tell(self, number: int) -> None:
        """-1: more has happened than the kernel could keep, so it may be about anybody."""
        numbers = self._followers if number < 0 else (number,)
        for each in numbers:
            for changed in self._followers.get(each, ()):
                changed.set()
