"""How much of a disk the files below a folder take, and how many they are; no link is followed, no mount entered.

Containers make any tree they like while it is walked, so each directory is opened inside the one above it.
"""

import os
import stat
import subprocess
from collections.abc import Iterator

from sampan.node.pod_use import NOTHING, Space

MAX_DEPTH = 200
_BLOCK = 512
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _TooDeepError(Exception):
    """More directories in each other than are held open at a time."""


def of(path: str) -> Space:
    """What is below the path, and it itself; nothing where there is nothing. Blocks."""
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError:
        return _of_file(path)
    top = os.fstat(fd)
    used, inodes = top.st_blocks * _BLOCK, 1
    linked: set[int] = set()
    try:
        for found in _below(fd, top.st_dev, 0):
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if found.st_ino in linked:
                    continue
                linked.add(found.st_ino)
            used += found.st_blocks * _BLOCK
            inodes += 1
    except _TooDeepError:
        return Space(max(used, _by_program(path)), inodes)
    return Space(used, inodes)


def _of_file(path: str) -> Space:
    try:
        found = os.lstat(path)
    except OSError:
        return NOTHING
    return Space(found.st_blocks * _BLOCK, 1)


def _below(fd: int, device: int, depth: int) -> Iterator[os.stat_result]:
    """What is below an open directory, which is closed."""
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != device:
                        continue
                    yield found
                    inner = os.open(entry.name, _DIRECTORY, dir_fd=fd) if stat.S_ISDIR(found.st_mode) else -1
                except OSError:
                    continue  # gone meanwhile
                if inner >= 0:
                    if depth >= MAX_DEPTH:
                        os.close(inner)
                        raise _TooDeepError
                    yield from _below(inner, device, depth + 1)
    finally:
        os.close(fd)


def _by_program(path: str) -> int:
    """The bytes of a tree that is deeper than is walked here."""
    done = subprocess.run(["du", "-skx", "--", path], capture_output=True, check=False)
    words = done.stdout.split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else 0
