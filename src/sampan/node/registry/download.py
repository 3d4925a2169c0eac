"""Getting a blob into a file: checked, bounded, and taken up again where it broke off.

A part that was fetched stays in the store's `downloads` folder, under the blob's digest, for the next attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp

from sampan.kit.clock import Clock
from sampan.node.images.model import ImageError
from sampan.node.registry.session import Registry, RegistryError, why

PIECE = 1 << 20
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5

_numbers = itertools.count()

Progress = Callable[[str, int, int], None]
"""Told of a blob's digest, the bytes that are here, and all of them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob as a manifest describes it."""

    digest: str
    size: int


class Downloads:
    """Blobs on their way into one folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    async def fetch(self, registry: Registry, wanted: Wanted, progress: Progress) -> Path:
        """The file with the whole, checked blob. RegistryError or ImageError when it can't be had."""
        pause = FIRST_PAUSE_SECONDS
        with _locked(self._folder, wanted.digest) as path:
            part = _Part(path, wanted)
            for attempt in range(ATTEMPTS):
                try:
                    if not part.is_whole():
                        await _receive(registry, part, progress)
                    await asyncio.to_thread(part.check)
                except RegistryError as error:
                    if not error.may_pass or attempt == ATTEMPTS - 1:
                        raise
                else:
                    return path
                await self._clock.sleep(pause)
                pause *= 2
        raise AssertionError("the last attempt raises")


@dataclass(frozen=True, slots=True)
class _Part:
    """What is here of a blob."""

    path: Path
    wanted: Wanted

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def is_whole(self) -> bool:
        return self.path.exists() and self.size == self.wanted.size

    def start(self, at: int) -> BinaryIO:
        """The file to go on with after so many bytes."""
        return self.path.open("ab" if at else "wb")

    def check(self) -> None:
        """Raises ImageError, and forgets the file, if it is not what was wanted."""
        with self.path.open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.wanted.digest:
            self.discard()
            raise ImageError(f"a blob's digest is {found}, not {self.wanted.digest}")

    def discard(self) -> None:
        """Forgets what is here."""
        self.path.unlink(missing_ok=True)


async def _receive(registry: Registry, part: _Part, progress: Progress) -> None:
    wanted = part.wanted
    have = part.size if part.size < wanted.size else 0
    async with await registry.blob(wanted.digest, have) as answer:
        if answer.status != 206:
            have = 0
        with part.start(have) as file:
            progress(wanted.digest, have, wanted.size)
            try:
                async for piece in answer.content.iter_chunked(PIECE):
                    have += len(piece)
                    if have > wanted.size:
                        part.discard()
                        text = f"blob {wanted.digest} is larger than the {wanted.size} bytes it should have"
                        raise ImageError(text)
                    await asyncio.to_thread(file.write, piece)
                    progress(wanted.digest, have, wanted.size)
                file.flush()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise RegistryError(f"blob {wanted.digest} broke off: {why(error)}") from error
            except OSError as error:  # the disk's: what is here helps nobody
                part.discard()
                raise ImageError(f"cannot write blob {wanted.digest}: {error.strerror}") from error
    if have < wanted.size:
        raise RegistryError(f"blob {wanted.digest} broke off: {have} of {wanted.size} bytes")


@contextlib.contextmanager
def _locked(folder: Path, digest: str) -> Iterator[Path]:
    """The blob's file, or one of our own while somebody else fetches the same."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / digest.partition(":")[2]
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            own = path.with_name(f"{path.name}.{os.getpid()}.{next(_numbers)}")
            try:
                yield own
            except BaseException:
                own.unlink(missing_ok=True)
                raise
        else:
            yield path
            Path(f"{path}.lock").unlink(missing_ok=True)
    finally:
        os.close(fd)
