"""Carries out COPY and ADD: gathers what they mean, knows its digest, and puts it into the stage's files."""

import bz2
import contextlib
import hashlib
import lzma
import os
import posixpath
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from sampan.node.images import content, tar, unpack, users
from sampan.node.images.building import ignore, orders, sources
from sampan.node.images.building.orders import Copy
from sampan.node.images.building.sources import Item, Tree
from sampan.node.images.building.target import Target, Terms
from sampan.node.images.model import ImageError

FETCH_SECONDS = 60
MAX_FETCH_BYTES = 4 << 30
_MAGICS: dict[bytes, Any] = {b"BZh": bz2.open, b"\xfd7z": lzma.open}


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to copy: where it is, and what it is called."""

    tree: Tree
    path: str
    name: str
    is_folder: bool


class Copying:
    """One COPY or ADD. `origin` is the context or the stage, `scratch` an empty folder. Use it with `with`."""

    def __init__(self, order: Copy, origin: Tree, scratch: str) -> None:
        self._order, self._origin, self._scratch = order, origin, scratch
        self._excluded = ignore.rules(order.excluded)
        self._open = contextlib.ExitStack()
        self._parts: list[Part] = []

    def __enter__(self) -> Self:
        try:
            self._parts = list(self._gathered())
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def digest(self) -> str:
        """Of all that is to be copied."""
        return self._walk(None)

    def copy(self, merged: str, epoch: int, digest: str) -> None:
        """Puts it into the mounted files. ImageError when it is not what it was when its digest was taken."""
        terms = Terms(epoch, _owner(merged, self._order.owner), self._order.mode)
        with Target(merged, terms) as target:
            if self._walk(target) != digest:
                raise ImageError("the files changed while they were copied; build again")

    def _walk(self, target: Target | None) -> str:
        digest = sources.Digest()
        for part in self._parts:
            digest.add(part.path if self._order.keeps_parents else part.name)
            if target is None:
                part.tree.visit(part.path, digest, self._excluded)
                continue
            base = self._base(part, target)
            if part.is_folder:
                target.make_folder(base)
            part.tree.visit(part.path, digest.then(_Into(target, base, part)), self._excluded)
        return digest.text

    def _base(self, part: Part, target: Target) -> str:
        """Where the part comes to lie."""
        place = self._order.target
        if self._order.keeps_parents:
            return posixpath.join(place, part.path)
        if part.is_folder:
            return place
        return posixpath.join(place, part.name) if place.endswith("/") or target.is_folder(place) else place

    def _gathered(self) -> Iterator[Part]:
        for name, text in self._order.documents:
            yield self._made(name, text.encode())
        for source in self._order.sources:
            if orders.is_remote(source) and self._order.may_fetch:
                yield self._fetched(source)
                continue
            found = self._found(source)
            for path in found:
                part = Part(self._origin, path, posixpath.basename(path), self._origin.is_folder(path))
                yield self._unpacked(part) if self._order.unpacks and not part.is_folder else part

    def _found(self, source: str) -> list[str]:
        try:
            found = self._origin.find(source)
        except ignore.PatternError as error:
            raise ImageError(str(error)) from error
        if not found:
            where = f"in {self._order.origin}" if self._order.origin else "in the context, or it is left out of it"
            raise ImageError(f"{source} is not there ({where})")
        return found

    def _folder(self) -> Path:
        folder = Path(self._scratch, str(len(os.listdir(self._scratch))))
        folder.mkdir()
        return folder

    def _tree(self, folder: Path, *, keeps_owners: bool = False) -> Tree:
        return self._open.enter_context(Tree(folder, keeps_owners=keeps_owners))

    def _made(self, name: str, data: bytes) -> Part:
        folder = self._folder()
        (folder / "file").write_bytes(data)
        (folder / "file").chmod(0o644)
        return Part(self._tree(folder), "file", name, is_folder=False)

    def _fetched(self, url: str) -> Part:
        name = posixpath.basename(url.partition("?")[0].partition("#")[0]) or "index.html"
        folder = self._folder()
        path = folder / "file"
        seen = hashlib.sha256()
        try:
            with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer, path.open("wb") as out:  # noqa: S310
                total = 0
                while piece := answer.read(content.CHUNK):
                    total += len(piece)
                    if total > MAX_FETCH_BYTES:
                        raise ImageError(f"{url} is larger than {MAX_FETCH_BYTES} bytes")
                    seen.update(piece)
                    out.write(piece)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise ImageError(f"{url} can't be had: {getattr(error, 'reason', error)}") from error
        found = f"sha256:{seen.hexdigest()}"
        if self._order.checksum and found != self._order.checksum:
            raise ImageError(f"{url} has the digest {found}, not {self._order.checksum}")
        path.chmod(0o600)
        return Part(self._tree(folder), "file", name, is_folder=False)

    def _unpacked(self, part: Part) -> Part:
        """The folder that an archive is unpacked to; what is none stays as it is."""
        folder = self._folder()
        plain = folder / "archive"
        with plain.open("wb") as out:

            def keep(item: Item, pieces: Iterator[bytes]) -> None:
                out.writelines(pieces)

            part.tree.visit(part.path, keep)
        with plain.open("rb") as raw:
            source = _archive(raw)
            if source is None:
                plain.unlink()
                return part
            inner = folder / "content"
            inner.mkdir(mode=0o755)
            unpack.unpack(source, str(inner))
        plain.unlink()
        return Part(self._tree(inner, keeps_owners=True), "", part.name, is_folder=True)


@dataclass(frozen=True, slots=True)
class _Into:
    """A sink that puts what it is handed into the target."""

    target: Target
    base: str
    part: Part

    def __call__(self, item: Item, pieces: Iterator[bytes]) -> None:
        if item.path or not self.part.is_folder:
            self.target.put(self.base, item, pieces)


def _archive(raw: BinaryIO) -> tar.Readable | None:
    """The tar in a file, unpacked if need be; None if there is none."""
    for is_first in (True, False):
        magic = raw.read(3)
        raw.seek(0)
        opener = _MAGICS.get(magic)
        source = cast("tar.Readable", opener(raw, "rb")) if opener else content.decompressed(raw)
        if not is_first:
            return source
        try:
            head = source.read(tar.BLOCK)
        except (ImageError, OSError, EOFError, lzma.LZMAError):
            return None
        raw.seek(0)
        if head[257:262] != b"ustar":
            return None
    return None


def _owner(merged: str, text: str) -> tuple[int, int] | None:
    """The ids that --chown means. A user without a group is in the group of the same number. ImageError."""
    if not text:
        return None
    fd = os.open(merged, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name, mark, _ = text.partition(":")
        full = f"{name}:{name}" if not mark and name.isdecimal() else text
        user = users.lookup(fd, full)
    except ValueError as error:
        raise ImageError(f"--chown={text}: {error}") from error
    finally:
        os.close(fd)
    return user.uid, user.gid
