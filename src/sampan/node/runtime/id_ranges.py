"""Which of the machine's user ids a pod with users of its own gets: 65536 in a row that no other pod has.

A range is a file that only one can make, in a directory that all nodes of this machine share and that a reboot
empties, as it ends the pods. The ranges lie where no other software of a Linux system hands out ids.

https://systemd.io/UIDS-GIDS/
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sampan.node.runtime import spec

LENGTH = spec.ID_COUNT
FIRST, LAST = 0x7000, 0x7FFD
"""The numbers of the first and the last range: their ids begin at a multiple of the length."""


class NoRangeLeft(Exception):
    """All of them are taken."""


def take(folder: str, owner: str) -> int:
    """The first id of a range that is `owner`'s from now on; the one that it has already, if it has one."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for first in _of(folder, owner):
        return first
    taken = set(os.listdir(folder))
    for number in range(FIRST, LAST + 1):
        first = number * LENGTH
        if str(first) not in taken and _is_made(folder, str(first), owner):
            return first
    raise NoRangeLeft(f"all {LAST + 1 - FIRST} ranges of user ids are in use")


def give_back(folder: str, owner: str) -> None:
    """What the owner has is free again. Repeating is harmless."""
    for first in _of(folder, owner):
        os.unlink(os.path.join(folder, str(first)))


def _of(folder: str, owner: str) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in filter(str.isdecimal, os.listdir(folder)):
            with contextlib.suppress(FileNotFoundError):
                if Path(folder, name).read_text() == owner:
                    found.append(int(name))
    return sorted(found)


def _is_made(folder: str, name: str, owner: str) -> bool:
    """Whether the file is ours now: it appears with its whole content, or not at all."""
    fresh = os.path.join(folder, f".{os.getpid()}-{name}")
    Path(fresh).write_text(owner)
    try:
        os.link(fresh, os.path.join(folder, name))
    except FileExistsError:
        return False
    finally:
        os.unlink(fresh)
    return True
