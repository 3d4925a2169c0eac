"""A disk: the files of a tape as they may be found when the process was killed, or the power failed, at any of its calls.

After a kill all is there that was done: only the last write may have come to its first pages alone. After a loss of power
a file has what was there at its last sync; of each sector written since, any version; and any size it had. A folder's
names are each as they were at its last sync, or as they became since. Nothing is assumed of the order in which these come
to the disk, but that a name always stands for one file or another.

https://www.usenix.org/conference/osdi14/technical-sessions/presentation/pillai
"""

import posixpath
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.store.tape import Call

PAGE, SECTOR = 4096, 512
Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Change:
    """To a file's content: these bytes at this place, or, without, this size."""

    done: int
    at: int
    data: bytes | None = None

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            _resize(content, self.at)
        else:
            _resize(content, max(len(content), self.at + len(self.data)))
            content[self.at : self.at + len(self.data)] = self.data


@dataclass(eq=False)
class File:
    """Whatever its names are."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    changes: list[Change] = field(default_factory=list)
    end: int = 0  # where a write without an offset goes: files are written by one, from their start on

    def change(self, change: Change) -> None:
        change.apply(self.content)
        self.changes.append(change)

    def sync(self, began: int) -> None:
        """All that was done before it was asked for is on the disk."""
        content = bytearray(self.synced)
        for change in self.changes:
            if change.done < began:
                change.apply(content)
        self.synced = bytes(content)
        self.changes = [change for change in self.changes if change.done >= began]


class Disk:
    """The files at one point of a tape; `play` goes on from there."""

    def __init__(self, before: Files) -> None:
        self._names: dict[str, File] = {}
        self._past: dict[str, list[File | None]] = {}  # what a name stood for since its folder was synced, oldest first
        for name, data in before.items():
            self._names[name] = File(bytearray(data), data)

    def play(self, call: Call) -> None:
        """Does what was done."""
        file = self._names.get(call.name)
        if call.kind == "create":
            if file is None:
                self._bind(call.name, File())
        elif call.kind in ("rename", "link"):
            assert file is not None, f"{call.name} is not there"
            self._bind(call.target, file)
            if call.kind == "rename":
                self._bind(call.name, None)
        elif call.kind == "unlink":
            self._bind(call.name, None)
        elif call.kind == "sync folder":
            for name in [name for name in self._past if posixpath.dirname(name) == call.name]:
                del self._past[name]
        elif call.kind != "tell":
            assert file is not None, f"{call.name} is not there"
            _change(file, call)

    def killed(self, amid: Call | None = None) -> Files:
        """What a kill leaves; `amid` a call, its first half of pages is done."""
        files = {name: bytes(file.content) for name, file in self._names.items()}
        if amid is not None:
            content = bytearray(files[amid.name])
            half = max(len(amid.data) // 2 // PAGE, 1) * PAGE
            Change(amid.ended, max(amid.at, 0), amid.data[:half]).apply(content)
            files[amid.name] = bytes(content)
        return files

    def unpowered(self, dice: random.Random) -> Files:
        """One of the states that a loss of power may leave."""
        found: Files = {}
        temper = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))  # how much of what was not synced is there
        made: dict[File, bytes] = {}
        for name in sorted(self._names.keys() | self._past.keys()):
            file = self._names.get(name)
            if name in self._past and dice.random() >= temper:
                file = dice.choice(self._past[name])
            if file is not None:
                if file not in made:
                    made[file] = _weathered(file, temper, dice)
                found[name] = made[file]
        return found

    def _bind(self, name: str, file: File | None) -> None:
        self._past.setdefault(name, []).append(self._names.get(name))
        if file is None:
            self._names.pop(name, None)
        else:
            self._names[name] = file


def is_torn(call: Call) -> bool:
    """Whether a kill may leave a part of it."""
    return call.kind == "write" and len(call.data) > PAGE


def _change(file: File, call: Call) -> None:
    if call.kind == "sync":
        file.sync(call.began)
    elif call.kind == "truncate":
        file.change(Change(call.ended, call.at))
    elif call.kind == "allocate":
        file.change(Change(call.ended, max(call.at, len(file.content))))
    elif call.kind == "write":
        at = call.at if call.at >= 0 else file.end
        file.end = file.end if call.at >= 0 else at + len(call.data)
        file.change(Change(call.ended, at, call.data))


def _weathered(file: File, temper: float, dice: random.Random) -> bytes:
    """Its synced content, with some sectors of what was written since."""
    content = bytearray(file.synced)
    size = dice.choice((PAGE, SECTOR))
    is_in_order = dice.random() < 0.3
    last = dice.randrange(len(file.changes) + 1) if is_in_order else len(file.changes)
    for change in file.changes[:last]:
        for part in _parts(change, size):
            if is_in_order or dice.random() < temper:
                part.apply(content)
    if not is_in_order and dice.random() < 0.3:  # its size came to the disk, the rest did not
        _resize(content, dice.choice([len(file.synced), len(file.content), *_sizes(file)]))
    return bytes(content)


def _parts(change: Change, size: int) -> Iterable[Change]:
    if change.data is None:
        return [change]
    ends = sorted({0, len(change.data), *range(size - change.at % size, len(change.data), size)})
    return [Change(change.done, change.at + a, change.data[a:b]) for a, b in zip(ends, ends[1:], strict=False)]


def _sizes(file: File) -> list[int]:
    """Each that it has had since its last sync, but none that cuts off what is synced unless it was truncated then."""
    content, sizes = bytearray(file.synced), []
    for change in file.changes:
        change.apply(content)
        sizes.append(len(content))
    return sizes


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
