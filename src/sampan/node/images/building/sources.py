"""Where COPY takes files from: a folder of the host or a mounted stage, which no link in it leads out of.

Names are resolved by the kernel with the folder as their root (see `images/rooted.py`), and what is below a folder that
is copied is opened without following links.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sampan.node.images import rooted
from sampan.node.images.building import ignore
from sampan.node.images.model import ImageError

CHUNK = 1 << 20
_TO_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOTHING = ignore.Rules()


@dataclass(frozen=True, slots=True)
class Item:
    """A file, folder or link: where it is below what is copied ("" for that itself), and what it is like."""

    path: str
    kind: str
    """file, folder or link."""
    mode: int
    uid: int
    gid: int
    link: str = ""
    capability: bytes = b""


Sink = Callable[[Item, Iterator[bytes]], None]


class Tree:
    """A folder to copy from. Use it with `with`."""

    def __init__(self, root: str | Path, rules: ignore.Rules = _NOTHING, *, keeps_owners: bool = False) -> None:
        self._root, self._rules, self._keeps_owners = str(root), rules, keeps_owners
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def find(self, pattern: str) -> list[str]:
        """The paths that a source of COPY means, sorted; none if there is nothing. PatternError."""
        path = os.path.normpath("/" + pattern).lstrip("/")
        if not ignore.is_glob(path):
            return [path] if self._is_there(path) else []
        wanted = re.compile(ignore.expression(path), re.DOTALL)
        found: list[str] = []
        self._search("", path.count("/") if "**" not in path else 100, wanted, found)
        return sorted(found)

    def is_folder(self, path: str) -> bool:
        """Whether the path leads to a folder."""
        try:
            os.close(rooted.open_directory(self._fd, path))
        except OSError:
            return False
        return True

    def visit(self, path: str, sink: Sink, excluded: ignore.Rules = _NOTHING) -> None:
        """Hands what is at the path to the sink, with all below it in a fixed order. ImageError, OSError."""
        fd = rooted.open_in(self._fd, path, _TO_LOOK)
        try:
            status = os.fstat(fd)
            real = self._real(fd, path)
            if self._is_left_out(path, real, is_folder=stat.S_ISDIR(status.st_mode)):
                raise ImageError(f"{path} leads to {real}, which is left out of the context")
            if stat.S_ISDIR(status.st_mode):
                sink(self._item("", "folder", status), iter(()))
                self._visit_folder(fd, (real, ""), sink, excluded)
            elif stat.S_ISREG(status.st_mode):
                sink(self._item("", "file", status, fd=fd), _chunks(fd))
            else:
                raise ImageError(f"{path} is neither a file nor a folder")
        finally:
            os.close(fd)

    def _visit_folder(self, fd: int, at: tuple[str, str], sink: Sink, excluded: ignore.Rules) -> None:
        """`at`: the folder's path in the tree, and below what is copied."""
        for name in sorted(os.listdir(fd)):
            path, below = (os.path.join(base, name) for base in at)
            is_out = self._rules.leaves_out(path) or excluded.leaves_out(below)
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if is_out and not self._may_hold(path, below, excluded):
                    continue
                inner = os.open(name, _FOLDER, dir_fd=fd)
                try:
                    item = self._item(below, "folder", os.fstat(inner))
                    into = _Late(item, sink) if is_out else None
                    if into is None:
                        sink(item, iter(()))
                    self._visit_folder(inner, (path, below), into or sink, excluded)
                finally:
                    os.close(inner)
            elif not is_out:
                self._visit_leaf(fd, name, (below, status), sink)

    def _visit_leaf(self, fd: int, name: str, known: tuple[str, os.stat_result], sink: Sink) -> None:
        below, status = known
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(name, dir_fd=fd)
            sink(self._item(below, "link", status, link=link), iter(()))
        elif stat.S_ISREG(status.st_mode):
            file = os.open(name, _FILE, dir_fd=fd)
            try:
                sink(self._item(below, "file", os.fstat(file), fd=file), _chunks(file))
            finally:
                os.close(file)

    def _may_hold(self, path: str, below: str, excluded: ignore.Rules) -> bool:
        """Whether something in a folder that is left out may not be."""
        return (not self._rules.leaves_out(path) or self._rules.exceptions) and (
            not excluded.leaves_out(below) or excluded.exceptions
        )

    def _item(self, path: str, kind: str, status: os.stat_result, *, fd: int = -1, link: str = "") -> Item:
        owner = (status.st_uid, status.st_gid) if self._keeps_owners else (0, 0)
        capability = _capability(fd) if self._keeps_owners and fd >= 0 else b""
        return Item(path, kind, stat.S_IMODE(status.st_mode), *owner, link, capability)

    def _is_there(self, path: str) -> bool:
        try:
            fd = rooted.open_in(self._fd, path, os.O_PATH)
        except OSError:
            return False
        try:
            is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            return not self._is_left_out(path, self._real(fd, path), is_folder=is_folder)
        finally:
            os.close(fd)

    def _real(self, fd: int, path: str) -> str:
        """Where what was opened at the path lies in the tree, links resolved; where no rule asks, just the path."""
        if not self._rules.patterns:
            return path
        root, found = (os.readlink(f"/proc/self/fd/{each}") for each in (self._fd, fd))
        return found.removeprefix(root).lstrip("/")

    def _is_left_out(self, path: str, real: str, *, is_folder: bool) -> bool:
        """Whether the ignore file leaves out the path, or what a link in it leads to."""
        if real == path and is_folder and (not path or self._rules.exceptions):
            return False
        if path and self._rules.leaves_out(path):
            return True
        return bool(real) and self._rules.leaves_out(real) and not (is_folder and self._rules.exceptions)

    def _search(self, folder: str, depth: int, wanted: re.Pattern[str], found: list[str]) -> None:
        try:
            fd = rooted.open_in(self._fd, folder, _FOLDER & ~os.O_CLOEXEC)
        except OSError:
            return
        try:
            for entry in os.scandir(fd):
                path = os.path.join(folder, entry.name)
                if wanted.fullmatch(path) and self._is_there(path):
                    found.append(path)
                if depth and entry.is_dir(follow_symlinks=False):
                    self._search(path, depth - 1, wanted, found)
        finally:
            os.close(fd)


class Digest:
    """A sink that knows the digest of all that it was handed; it may hand it on to another."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._then: Sink | None = None

    def then(self, sink: Sink) -> "Digest":
        """Hands on to this one from now on."""
        self._then = sink
        return self

    def __call__(self, item: Item, content: Iterator[bytes]) -> None:
        self.add(repr((item.path, item.kind, item.mode, item.uid, item.gid, item.link, item.capability)))
        own = hashlib.sha256()

        def read() -> Iterator[bytes]:
            for piece in content:
                own.update(piece)
                yield piece

        if self._then is not None:
            self._then(item, read())
        for _ in read():
            pass
        self._hash.update(own.digest())

    def add(self, text: str) -> None:
        """Something else that counts."""
        data = text.encode("utf-8", "surrogateescape")
        self._hash.update(b"%d:" % len(data) + data)

    @property
    def text(self) -> str:
        """The digest."""
        return self._hash.hexdigest()


class _Late:
    """A folder that is handed on only when something in it is."""

    def __init__(self, item: Item, sink: Sink) -> None:
        self._item: Item | None = item
        self._sink = sink

    def __call__(self, item: Item, content: Iterator[bytes]) -> None:
        if self._item is not None:
            folder, self._item = self._item, None
            self._sink(folder, iter(()))
        self._sink(item, content)


def _chunks(fd: int) -> Iterator[bytes]:
    while piece := os.read(fd, CHUNK):
        yield piece


def _capability(fd: int) -> bytes:
    try:
        return os.getxattr(fd, "security.capability")
    except OSError:
        return b""
