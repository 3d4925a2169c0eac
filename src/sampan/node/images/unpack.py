"""Unpacks one image layer into a directory that overlayfs can use, whatever the archive tries.

Every path is resolved with the layer as its root (see `rooted.py`), so nothing is written, linked to or
deleted outside of it. Whiteouts become what overlayfs understands
(https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts): a 0/0 character device for a
deleted name, `trusted.overlay.opaque` (without root `user.overlay.opaque`) for a directory that hides all
below it. Device nodes are left out: a container gets its devices from the runtime.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import dataclass

from sampan.node.images import rooted, tar
from sampan.node.images.model import ImageError

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Limits:
    """What one layer may hold at most."""

    entries: int = 1_000_000
    total_bytes: int = 16 << 30


def unpack(source: tar.Readable, target: str, limits: Limits | None = None) -> int:
    """Unpacks the tar stream into the existing, empty directory; returns the bytes of its files. ImageError."""
    root_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    layer = _Layer(root_fd)
    try:
        return _unpack(tar.TarReader(source), layer, limits or Limits())
    except OSError as error:
        raise ImageError(f"cannot unpack the layer: {error.strerror}: {error.filename}") from error
    finally:
        layer.close()
        os.close(root_fd)


def _unpack(reader: tar.TarReader, layer: _Layer, limits: Limits) -> int:
    total = 0
    for count, entry in enumerate(reader):
        total += entry.size if entry.type == tar.FILE else 0
        if count >= limits.entries:
            raise ImageError(f"the layer has more than {limits.entries} entries")
        if total > limits.total_bytes:
            raise ImageError(f"the layer's files are larger than {limits.total_bytes} bytes")
        layer.add(entry, reader)
    layer.set_directory_times()
    return total


class _Layer:
    """The directory being filled. Keeps the last parent open: archives list a directory's files together."""

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd
        self._parent: tuple[str, int] | None = None
        self._times: dict[str, float] = {}

    def close(self) -> None:
        """Let go of the parent that is kept open."""
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        """Put one entry in its place."""
        path = posixpath.normpath("/" + entry.name).lstrip("/")
        if ".." in entry.name.split("/"):
            raise ImageError(f"archive: {entry.name!r} leads outside of the layer")
        if not path:
            self._add_root(entry)
            return
        head, name = posixpath.split(path)
        if name.startswith(WHITEOUT):
            self._whiteout(head, name)
        elif entry.type not in (tar.CHAR, tar.BLOCK_DEVICE):
            self._place(head, name, entry, reader)

    def set_directory_times(self) -> None:
        """Last of all, as each file that came into a directory changed its time."""
        for path, mtime in self._times.items():
            try:
                fd = rooted.open_in(self._root, path, _DIRECTORY)
            except OSError:
                continue
            os.utime(fd, (mtime, mtime))
            os.close(fd)

    def _add_root(self, entry: tar.Entry) -> None:
        if entry.type == tar.DIRECTORY:
            _set_owner(self._root, entry)

    def _place(self, head: str, name: str, entry: tar.Entry, reader: tar.TarReader) -> None:
        parent = self._directory(head)
        if entry.type == tar.DIRECTORY:
            self._place_directory(parent, head, name, entry)
            return
        rooted.remove_at(parent, name)
        if entry.type == tar.FILE:
            _write_file(parent, name, entry, reader)
        elif entry.type == tar.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
            _set_link_owner(parent, name, entry)
        elif entry.type == tar.HARDLINK:
            self._hardlink(parent, name, entry)
        elif entry.type == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            os.chmod(name, entry.mode, dir_fd=parent)
        else:
            raise ImageError(f"archive: {entry.name!r} is of the unknown type {entry.type!r}")

    def _place_directory(self, parent: int, head: str, name: str, entry: tar.Entry) -> None:
        mode = _mode_at(parent, name)
        if mode is None or not stat.S_ISDIR(mode):
            rooted.remove_at(parent, name)
            os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            if mode is not None and stat.S_ISCHR(mode):
                _set_opaque(fd)
            _set_owner(fd, entry)
        finally:
            os.close(fd)
        self._times[posixpath.join(head, name)] = entry.mtime

    def _hardlink(self, parent: int, name: str, entry: tar.Entry) -> None:
        source = posixpath.normpath("/" + entry.link).lstrip("/")
        head, source_name = posixpath.split(source)
        if not source_name or ".." in entry.link.split("/"):
            raise ImageError(f"archive: the hard link {entry.name!r} leads outside of the layer")
        try:
            source_fd = rooted.open_directory(self._root, head)
        except OSError as error:
            raise ImageError(f"archive: the hard link {entry.name!r} leads to nothing") from error
        try:
            mode = _mode_at(source_fd, source_name)
            if mode is None or stat.S_ISCHR(mode) or stat.S_ISDIR(mode):
                raise ImageError(f"archive: the hard link {entry.name!r} leads to no file of this layer")
            os.link(source_name, name, src_dir_fd=source_fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source_fd)

    def _whiteout(self, head: str, name: str) -> None:
        parent = self._directory(head)
        if name == OPAQUE:
            _set_opaque(parent)
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden.startswith(WHITEOUT):
            return  # aufs's own bookkeeping, which the specification says to ignore
        if hidden in ("", ".", ".."):
            raise ImageError(f"archive: the whiteout {name!r} names nothing")
        mode = _mode_at(parent, hidden)
        if mode is None:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
        elif stat.S_ISDIR(mode):
            fd = os.open(hidden, _DIRECTORY, dir_fd=parent)
            _set_opaque(fd)
            os.close(fd)

    def _directory(self, path: str) -> int:
        """The open directory of this path, made with its parents where it is missing."""
        if self._parent is not None and self._parent[0] == path:
            return self._parent[1]
        self.close()
        fd = self._open_or_make(path, 0)
        self._parent = (path, fd)
        return fd

    def _open_or_make(self, path: str, depth: int) -> int:
        try:
            return rooted.open_directory(self._root, path)
        except FileNotFoundError:
            pass
        if depth > rooted.MAX_DEPTH:
            raise ImageError(f"archive: too many links or directories on the way to {path[:200]!r}")
        head, name = posixpath.split(path)
        parent = self._open_or_make(head, depth + 1)
        try:
            mode = _mode_at(parent, name)
            if mode is not None and stat.S_ISLNK(mode):
                return self._open_or_make(self._link_target(head, os.readlink(name, dir_fd=parent)), depth + 1)
            os.mkdir(name, 0o755, dir_fd=parent)
            return os.open(name, _DIRECTORY, dir_fd=parent)
        finally:
            os.close(parent)

    @staticmethod
    def _link_target(head: str, link: str) -> str:
        return posixpath.normpath(posixpath.join("/", head, link)).lstrip("/")


def _mode_at(parent: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _write_file(parent: int, name: str, entry: tar.Entry, reader: tar.TarReader) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        for piece in reader.chunks():
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        _set_owner(fd, entry)
        capability = entry.xattrs.get("security.capability")
        if capability is not None and len(capability) <= 64:
            _set_capability(fd, capability)
        os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)


def _set_opaque(fd: int) -> None:
    """In a user namespace overlayfs reads the users' attribute (see `runtime/overlay.py`)."""
    try:
        os.setxattr(fd, "trusted.overlay.opaque", b"y")
    except PermissionError:
        os.setxattr(fd, "user.overlay.opaque", b"y")


def _set_capability(fd: int, value: bytes) -> None:
    try:
        os.setxattr(fd, "security.capability", value)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EPERM):
            raise


def _set_owner(fd: int, entry: tar.Entry) -> None:
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)


def _set_link_owner(parent: int, name: str, entry: tar.Entry) -> None:
    os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    os.utime(name, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
