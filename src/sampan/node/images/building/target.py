"""Puts files into a stage's mounted root file system, which no link in it leads out of."""

import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from sampan.node.images import rooted
from sampan.node.images.building.sources import Item
from sampan.node.images.model import ImageError

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose the files are to be, and their modes and times; None leaves the owner or the mode as it comes."""

    mtime: int
    owner: tuple[int, int] | None = None
    mode: int | None = None


class Target:
    """A root file system that is written to. Use it with `with`."""

    def __init__(self, root: str, terms: Terms) -> None:
        self._root, self._terms, self._fd = root, terms, -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def is_folder(self, path: str) -> bool:
        """Whether the path leads to a folder."""
        try:
            os.close(rooted.open_directory(self._fd, path))
        except OSError:
            return False
        return True

    def make_folder(self, path: str) -> None:
        """The folder, with those above it. ImageError."""
        os.close(self._folder(path))

    def put(self, base: str, item: Item, content: Iterator[bytes]) -> None:
        """Writes one item to its place below `base`. ImageError, OSError."""
        path = posixpath.join(base, item.path) if item.path else base
        if item.kind == "folder":
            self._put_folder(path, item)
            return
        head, name = posixpath.split(path.rstrip("/"))
        parent = self._folder(head)
        try:
            _make_room(parent, name, path)
            if item.kind == "link":
                os.symlink(item.link, name, dir_fd=parent)
                os.chown(name, *self._owner(item), dir_fd=parent, follow_symlinks=False)
                os.utime(name, (self._terms.mtime,) * 2, dir_fd=parent, follow_symlinks=False)
            else:
                self._write(parent, name, item, content)
        finally:
            os.close(parent)

    def _write(self, parent: int, name: str, item: Item, content: Iterator[bytes]) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            for piece in content:
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            os.fchown(fd, *self._owner(item))
            os.fchmod(fd, item.mode if self._terms.mode is None else self._terms.mode)
            if item.capability:
                os.setxattr(fd, "security.capability", item.capability)
            os.utime(fd, (self._terms.mtime,) * 2)
        finally:
            os.close(fd)

    def _put_folder(self, path: str, item: Item) -> None:
        if self.is_folder(path):
            return
        fd = self._folder(path)
        os.fchown(fd, *self._owner(item))
        os.fchmod(fd, item.mode if self._terms.mode is None else self._terms.mode)
        os.close(fd)

    def _owner(self, item: Item) -> tuple[int, int]:
        return self._terms.owner or (item.uid, item.gid)

    def _folder(self, path: str) -> int:
        """The open folder, made where it is missing."""
        parts = [part for part in path.split("/") if part]
        try:
            return rooted.open_directory(self._fd, "/".join(parts))
        except FileNotFoundError:
            pass
        except NotADirectoryError as error:
            raise ImageError(f"{path}: something on the way there is no folder") from error
        for count in range(1, len(parts) + 1):
            if not self.is_folder("/".join(parts[:count])):
                self._make(parts[:count])
        return rooted.open_directory(self._fd, "/".join(parts))

    def _make(self, parts: list[str]) -> None:
        parent = rooted.open_directory(self._fd, "/".join(parts[:-1]))
        try:
            os.mkdir(parts[-1], 0o755, dir_fd=parent)
            os.chown(parts[-1], *(self._terms.owner or (0, 0)), dir_fd=parent, follow_symlinks=False)
            os.chmod(parts[-1], 0o755, dir_fd=parent)
        except FileExistsError as error:
            raise ImageError(f"/{'/'.join(parts)} is there already, and is no folder") from error
        finally:
            os.close(parent)


def _make_room(parent: int, name: str, path: str) -> None:
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise ImageError(f"cannot copy a file to {path}: there is a folder")
    os.unlink(name, dir_fd=parent)
