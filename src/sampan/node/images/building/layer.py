"""A layer's tar, made of the upper directory of an overlay: the same files give the same bytes.

Names are sorted, owners are numbers, and no time is later than the build's. Deletions become whiteouts
(https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts).
"""

import io
import os
import stat
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sampan.node.images import unpack
from sampan.node.images.model import ImageError

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_REDIRECT = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


@dataclass(frozen=True, slots=True)
class Change:
    """An upper directory, the layers below it (lowest first), the latest time, and whether the top itself changed."""

    upper: str
    lower: Sequence[str]
    latest: int
    has_root: bool = False


def write(change: Change, out: BinaryIO) -> int:
    """Writes the tar; returns how many entries it has. ImageError."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        writer = _Writer(change, archive)
        if change.has_root:
            writer.add_folder("", ".")
        writer.walk("", is_new=not change.lower)
        return writer.count


class _Writer:
    """One walk over the directory."""

    def __init__(self, change: Change, archive: tarfile.TarFile) -> None:
        self._upper, self._lower, self._latest = change.upper, change.lower, change.latest
        self._archive = archive
        self._seen: dict[tuple[int, int], str] = {}
        self._waiting: list[str] = []
        self.count = 0

    def walk(self, folder: str, *, is_new: bool) -> None:
        """All that is in the folder. A folder that is as it was is there only if something in it changed."""
        for name in sorted(os.listdir(os.path.join(self._upper, folder))):
            path = os.path.join(folder, name)
            if not stat.S_ISDIR(os.lstat(os.path.join(self._upper, path)).st_mode):
                self._add_waiting()
                self._add(path)
                continue
            is_opaque = self._is_opaque(path)
            self._waiting.append(path)
            if is_new or is_opaque or not self._is_unchanged(path):
                self._add_waiting()
            if is_opaque and self._was_there(path):
                self._add_empty(os.path.join(path, unpack.OPAQUE))
            self.walk(path, is_new=is_new or is_opaque)
            if self._waiting and self._waiting[-1] == path:
                self._waiting.pop()

    def _add_waiting(self) -> None:
        for path in self._waiting:
            self.add_folder(path, path)
        self._waiting.clear()

    def _is_opaque(self, path: str) -> bool:
        place = os.path.join(self._upper, path)
        names = os.listxattr(place)
        return any(name in names and os.getxattr(place, name) == b"y" for name in _OPAQUE)

    def _was_there(self, path: str) -> bool:
        return any(os.path.isdir(os.path.join(layer, path)) for layer in self._lower)

    def _is_unchanged(self, path: str) -> bool:
        """Whether only its time differs from that of the folder below. It is there: a new one hides what is below."""
        now = os.lstat(os.path.join(self._upper, path))
        for layer in reversed(self._lower):
            try:
                was = os.lstat(os.path.join(layer, path))
            except OSError:
                continue
            if stat.S_ISDIR(was.st_mode):
                return (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
        return False

    def _add(self, path: str) -> None:
        """Adds one entry that is no folder."""
        place = os.path.join(self._upper, path)
        status = os.lstat(place)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            folder, name = os.path.split(path)
            self._add_empty(os.path.join(folder, unpack.WHITEOUT + name))
            return
        if stat.S_ISSOCK(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            return
        info = self._info(path, status)
        key = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and key in self._seen:
            info.type, info.linkname = tarfile.LNKTYPE, self._seen[key]
            self._put(info)
        elif stat.S_ISREG(status.st_mode):
            self._seen[key] = path
            self._add_file(info, place, status.st_size)
        else:
            info.type = tarfile.SYMTYPE if stat.S_ISLNK(status.st_mode) else tarfile.FIFOTYPE
            info.linkname = os.readlink(place) if stat.S_ISLNK(status.st_mode) else ""
            self._put(info)

    def add_folder(self, path: str, name: str) -> None:
        """A folder by itself."""
        place = os.path.join(self._upper, path)
        names = os.listxattr(place)
        if any(name in names for name in _REDIRECT):
            raise ImageError(
                f"/{path}: this kernel's overlay redirects folders; set redirect_dir=off for module overlay"
            )
        info = self._info(name, os.lstat(place))
        info.type = tarfile.DIRTYPE
        self._put(info)

    def _add_file(self, info: tarfile.TarInfo, place: str, size: int) -> None:
        info.size = size
        try:
            capability = os.getxattr(place, "security.capability", follow_symlinks=False)
            info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
        except OSError:
            pass
        with open(place, "rb") as file:
            self._put(info, file)

    def _add_empty(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.mtime = self._latest
        self._put(info)

    def _info(self, name: str, status: os.stat_result) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.uid, info.gid = status.st_uid, status.st_gid
        info.mtime = min(int(status.st_mtime), self._latest)
        return info

    def _put(self, info: tarfile.TarInfo, file: BinaryIO | None = None) -> None:
        self._archive.addfile(info, file or io.BytesIO())
        self.count += 1
