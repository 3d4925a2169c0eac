"""Reads and writes file descriptors and waits for files and processes without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_IN_CLOSE_WRITE, _IN_MOVED_TO = 0x8, 0x80
_EVENT = struct.Struct("iIII")


async def readable(*fds: int) -> None:
    """Returns when one of them has something to read, or is at its end."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    for fd in fds:
        loop.add_reader(fd, _settle, ready)
    try:
        await ready
    finally:
        for fd in fds:
            loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Returns when something can be written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


async def read(fd: int, size: int = 65536) -> bytes:
    """The next bytes of a non-blocking descriptor; empty at the end (also a terminal's hang-up)."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await readable(fd)
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise


async def write(fd: int, data: bytes) -> None:
    """Writes all to a non-blocking descriptor; BrokenPipeError if nobody reads it."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await writable(fd)


async def read_all(fd: int, limit: int) -> bytes:
    """Everything up to the end or the limit."""
    parts: list[bytes] = []
    while limit > 0 and (piece := await read(fd, limit)):
        parts.append(piece)
        limit -= len(piece)
    return b"".join(parts)


async def read_line(fd: int, limit: int) -> bytes:
    """Everything up to the first line's end, the end or the limit; whoever writes may keep the pipe open."""
    data = b""
    while len(data) < limit and not data.endswith(b"\n") and (piece := await read(fd)):
        data += piece
    return data


def pipe() -> tuple[int, int]:
    """A close-on-exec pipe whose reading end does not block."""
    source, sink = os.pipe()
    os.set_blocking(source, False)
    return source, sink


class Arrivals:
    """Tells when a file has been written whole in one directory (inotify(7))."""

    def __init__(self, directory: str) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = ctypes.c_uint32(_IN_CLOSE_WRITE | _IN_MOVED_TO)
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
            raise OSError(ctypes.get_errno(), "cannot watch", directory)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        asyncio.get_running_loop().add_reader(self._fd, self._arrived)

    def expect(self, name: str) -> asyncio.Future[None]:
        """A future that is done when the file of this name is there; to be asked for before it can come."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        future.add_done_callback(lambda _: self._waiting.pop(name, None))
        return future

    def close(self) -> None:
        """Stop watching."""
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        for future in list(self._waiting.values()):
            future.cancel()

    def _arrived(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, 65536)
            at = 0
            while at < len(data):
                _, _, _, length = _EVENT.unpack_from(data, at)
                name = os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0"))
                at += _EVENT.size + length
                if name in self._waiting:
                    _settle(self._waiting[name])


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
