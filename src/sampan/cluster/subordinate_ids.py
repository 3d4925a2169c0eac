"""Subordinate ids: which further users and groups a user may hand to the containers of a user namespace.

https://man7.org/linux/man-pages/man5/subuid.5.html
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

WANTED = 65535
"""Beside root's, so that every id of an image has its own."""


@dataclass(frozen=True, slots=True)
class Range:
    """Ids in a row."""

    first: int
    count: int


def granted(file: str) -> Range:
    """The largest range that the file (/etc/subuid or /etc/subgid) grants this user. OSError, with the mend, without one."""
    name = _user_name()
    found = [_range(line) for line in _lines(file) if line.split(":")[0] in (name, str(os.getuid()))]
    best = max(found, key=lambda ids: ids.count, default=Range(0, 0))
    if best.count < WANTED:
        grant = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
        raise OSError(f"{file} grants {name} {best.count} ids, and containers need {WANTED}: {grant}")
    return Range(best.first, WANTED)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _lines(file: str) -> list[str]:
    try:
        return [line for line in Path(file).read_text().splitlines() if line.count(":") == 2]
    except OSError:
        return []


def _range(line: str) -> Range:
    _, first, count = line.split(":")
    return Range(int(first), int(count)) if first.isdecimal() and count.isdecimal() else Range(0, 0)
