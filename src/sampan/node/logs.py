"""Reading container logs in the CRI format: time, stream, tag (F full, P partial), text, one line each.

Files are only ever opened as regular files, never through a link. Following waits for the kernel's word of a
change, and goes on in the fresh file after a rotation.

https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

import asyncio
import errno
import glob
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO
from weakref import WeakKeyDictionary

from sampan.meta import timestamps
from sampan.node.log_notices import Watch
from sampan.web.message import grouped

CHUNK = 64 * 1024
LINE_BYTES = 256 * 1024
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Why a log that is there can't be opened just now: it must not look empty."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of a log. None means no limit; `since` is unix seconds; `stream` All, Stdout or Stderr."""

    follow: bool = False
    tail_lines: int | None = None
    since: float | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = "All"


def tail(path: str, options: Options) -> bytes:
    """The log's text as of now, within the options; nothing where it can't be opened."""
    try:
        return b"".join(_wanted(_lines(path, options.tail_lines), options))
    except OSError:
        return b""


def read(path: str, options: Options, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's text in chunks; when following, until `is_over` and everything was read.

    It is opened at once: OSError when there are too many open files.
    """
    return _read(_reader(path, options), options, is_over)


async def _read(reader: "_Reader | None", options: Options, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
    left = options.limit_bytes if options.limit_bytes is not None else -1
    if reader is None:
        return
    try:
        existing = reader.lines() if options.tail_lines is None else _tail_of(reader.path, reader, options.tail_lines)
        while True:
            ended = is_over()
            wanted = grouped(_wanted(existing, options), CHUNK)
            while left and (text := await _next(wanted)):
                yield (piece := _cut(text, left))
                left = left - len(piece) if left >= 0 else left
            if left == 0 or not options.follow or ended:
                return
            await reader.wait_changed()
            existing = reader.lines()
    finally:
        reader.close()


async def _next(wanted: Iterator[bytes]) -> bytes:
    """The next lines. One reader has its turn in a round of the loop: a crowd of them makes no probe late."""
    async with _turns():
        text = next(wanted, b"")
        await asyncio.sleep(0)
    return text


def _turns() -> asyncio.Lock:
    return _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock())


_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _reader(path: str, options: Options) -> "_Reader | None":
    """Stands at the start of what is shown: without a limit of lines that is the file before the last rotation."""
    older = _older(path) if options.tail_lines is None else ""
    file = (_open(older) if older else None) or _open(path)
    return _Reader(path, file) if file is not None else None


def _cut(data: bytes, left: int) -> bytes:
    return data if left < 0 else data[:left]


def _wanted(lines: Iterator[bytes], options: Options) -> Iterator[bytes]:
    """The text of the chosen lines; a partial line has no newline unless timestamps are shown at its start."""
    continued = False
    for line in lines:
        parts = line.rstrip(b"\n").split(b" ", 3)
        if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
            continue
        if options.stream != "All" and parts[1].decode() != options.stream.lower():
            continue
        if options.since is not None and _time(parts[0]) < options.since:
            continue
        text = parts[3] if len(parts) > 3 else b""
        if options.timestamps and not continued:
            text = _zulu(parts[0]) + b" " + text
        continued = parts[2].startswith(b"P")
        yield text if continued else text + b"\n"


def _zulu(time: bytes) -> bytes:
    """UTC as upstream writes it: conmon says +00:00."""
    return time.removesuffix(b"+00:00") + b"Z" if time.endswith(b"+00:00") else time


def _time(text: bytes) -> float:
    try:
        return timestamps.parse(text.decode("ascii", "replace"))
    except ValueError:
        return 0.0


def _lines(path: str, tail_lines: int | None) -> Iterator[bytes]:
    reader = _reader(path, Options(tail_lines=tail_lines))
    if reader is None:
        return iter(())
    try:
        lines = reader.lines() if tail_lines is None else _tail_of(path, reader, tail_lines)
        return iter(list(lines))
    finally:
        reader.close()


def _tail_of(path: str, reader: "_Reader", count: int) -> Iterator[bytes]:
    """The last whole lines; the reader stands at the end afterwards. Partial lines count with their full one."""
    kept = _last_lines(reader.file, count)
    missing = count - sum(_is_full(line) for line in kept)
    if missing > 0 and (older := _older(path)):
        file = _open(older)
        if file is not None:
            with file:
                kept = _last_lines(file, missing) + kept
    return iter(kept)


def _last_lines(file: BinaryIO, count: int) -> list[bytes]:
    """Reads backwards until enough lines are there; leaves the file at its end."""
    end = file.seek(0, os.SEEK_END)
    data, start = b"", end
    while start > 0 and data.count(b" F ") + data.count(b" F\n") <= count + 1:
        step = min(CHUNK, start)
        start -= step
        file.seek(start)
        data = file.read(step) + data
    lines = data.splitlines(keepends=True)
    if start > 0:
        lines = lines[1:]
    whole = data.rfind(b"\n") + 1
    file.seek(end - (len(data) - whole))
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    if count <= 0:
        return []
    chosen: list[bytes] = []
    full = 0
    for line in reversed(lines):
        if _is_full(line):
            full += 1
            if full > count:
                break
        chosen.append(line)
    return chosen[::-1]


def _is_full(line: bytes) -> bool:
    parts = line.split(b" ", 3)
    return len(parts) > 2 and parts[2].rstrip(b"\n") == b"F"


def _older(path: str) -> str:
    """The newest rotated, uncompressed file beside the log."""
    found = [name for name in glob.glob(glob.escape(path) + ".*") if not name.endswith((".gz", ".tmp"))]
    return max(found, default="")


def _open(path: str) -> BinaryIO | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


class _Reader:
    """A log file that is being written: whole lines as they come, through rotations."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self._watch: Watch | None = None

    def lines(self) -> Iterator[bytes]:
        """The whole lines from here to the end, of a rotated log's successor too."""
        while True:
            start = self.file.tell()
            line = self.file.readline(LINE_BYTES)
            if line.endswith(b"\n"):
                yield line
                continue
            self.file.seek(start)
            if not self._follow_rotation():
                return

    def _follow_rotation(self) -> bool:
        """Goes over to the new file if the path now names another one."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        here = os.fstat(self.file.fileno())
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            if here.st_size < self.file.tell():
                self.file.seek(0)
                return True
            return False
        try:
            fresh = _open(self.path)
        except OSError:
            return False  # later
        if fresh is None:
            return False
        self.file.close()
        self.file = fresh
        return True

    async def wait_changed(self) -> None:
        """Returns when something was written, or after a second at most."""
        if self._watch is None:
            self._watch = Watch(os.path.dirname(self.path))
            return  # something may have come before the watch: look once more
        await self._watch.wait()

    def close(self) -> None:
        """Lets go of file and watch."""
        self.file.close()
        if self._watch is not None:
            self._watch.close()
