"""The files of an image store: blobs by digest, unpacked layers, one index; all written whole or not at all.

Below the root: `blobs/sha256/<hex>` as in an OCI layout, `l/<short name>/` the unpacked layers (short,
because all lower directories of an overlay must fit in one page of mount options), `tmp/` for what is
not finished, `index.json`, and `lock`, which every writer of any process holds.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from sampan.kit import files
from sampan.node.images import rooted, tar, unpack
from sampan.node.images.model import ImageError

CHUNK = 1 << 20
MAX_DOCUMENT_BYTES = 4 << 20
MAX_BLOB_BYTES = 16 << 30
_libc = ctypes.CDLL(None, use_errno=True)


class Content:
    """Reads and writes the store's files. Digests are `sha256:<hex>`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._index: tuple[tuple[int, int, int], dict[str, Any]] | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the directories and holds the writers' lock; waits for other writers."""
        # Only root may look inside: layers hold set-user-id programs.
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in ("blobs", "blobs/sha256", "l", "tmp"):
            (self.root / part).mkdir(exist_ok=True, mode=0o700)
        fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._clear()
            yield
            self._clear()
        finally:
            os.close(fd)

    def _clear(self) -> None:
        for left in (self.root / "tmp").iterdir():
            rooted.remove_tree(str(left)) if left.is_dir() else left.unlink()

    def blob_path(self, digest: str) -> Path:
        """Where the blob is or would be. ImageError for what is no sha256 digest."""
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or value.strip("0123456789abcdef"):
            raise ImageError(f"{digest!r} is not a sha256 digest")
        return self.root / "blobs" / "sha256" / value

    def add_blob(self, source: tar.Readable, digest: str = "", limit: int = MAX_BLOB_BYTES) -> tuple[str, int]:
        """Stores the bytes and returns digest and size; ImageError if they are not what the digest says."""
        total = 0
        seen = hashlib.sha256()
        fd, name = tempfile.mkstemp(dir=self.root / "tmp")
        with os.fdopen(fd, "wb") as stream:
            while piece := source.read(CHUNK):
                total += len(piece)
                if total > limit:
                    raise ImageError(f"a blob is larger than {limit} bytes")
                seen.update(piece)
                stream.write(piece)
            stream.flush()
            os.fsync(fd)
        found = "sha256:" + seen.hexdigest()
        if digest and found != digest:
            raise ImageError(f"a blob's digest is {found}, not {digest}")
        files.put_in_place(Path(name), self.blob_path(found))
        return found, total

    def take_blobs(self, found: Mapping[str, Path]) -> None:
        """Moves files, of the same file system, in as blobs. What has been moved already is passed over."""
        for digest, path in found.items():
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(path, self.blob_path(digest))
        if found:
            files.sync_folder(self.root / "blobs" / "sha256")

    def read_document(self, digest: str) -> dict[str, Any]:
        """A stored JSON blob."""
        return document(self.blob_path(digest).read_bytes())

    def layer_path(self, diff_id: str) -> Path:
        """The unpacked layer's directory: 128 bits of its digest, in 26 characters."""
        raw = bytes.fromhex(self.blob_path(diff_id).name)[:16]
        return self.root / "l" / base64.b32encode(raw).decode().rstrip("=").lower()

    def add_layer(self, blob: Path, diff_id: str, limits: unpack.Limits) -> int:
        """Unpacks a layer blob (tar, gzip or zstd) unless it is there, and returns the bytes of its files."""
        target = self.layer_path(diff_id)
        note = target.with_name(target.name + ".size")
        if target.is_dir() and note.is_file():
            return int(note.read_text())
        work = Path(tempfile.mkdtemp(dir=self.root / "tmp"))
        work.chmod(0o755)
        with blob.open("rb") as raw:
            source = _Hashing(decompressed(raw))
            size = unpack.unpack(source, str(work), limits)
            source.drain(limits.total_bytes)
        if source.digest != diff_id:
            raise ImageError(f"a layer's content is {source.digest}, not {diff_id} as its configuration says")
        rooted.remove_tree(str(target))
        work.rename(target)
        _sync_file_system(target)
        files.write_whole(note, str(size).encode())  # who finds it takes the layer for whole
        return size

    def index(self) -> dict[str, Any]:
        """What the store holds: `{"images": {id: record}}`. Not to be changed by the caller."""
        path = self.root / "index.json"
        try:
            found = path.stat()
        except FileNotFoundError:
            return {"images": {}}
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._index is None or self._index[0] != stamp:
            self._index = (stamp, orjson.loads(path.read_bytes()))
        return self._index[1]

    def write_index(self, index: dict[str, Any]) -> None:
        """Replaces the index; the lock is held. What it names is on the disk since it was added."""
        files.write_whole(self.root / "index.json", orjson.dumps(index))


def document(data: bytes) -> dict[str, Any]:
    """Parses a bounded JSON object of an image."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ImageError("a manifest or configuration is larger than 4 MiB")
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ImageError(f"a manifest or configuration is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ImageError("a manifest or configuration is not a JSON object")
    return tree


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def decompressed(raw: BinaryIO) -> tar.Readable:
    """The stream's content, unpacked if it is gzip or zstd."""
    magic = raw.read(4)
    raw.seek(-len(magic), os.SEEK_CUR)
    if magic[:2] == b"\x1f\x8b":
        return _Reading(cast("tar.Readable", gzip.GzipFile(fileobj=raw)))
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard  # seldom needed, and an idle agent is to be small

        decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        return _Reading(decoder.stream_reader(raw, read_across_frames=True), zstandard.ZstdError)
    return raw


class _Reading:
    """A decompressor whose errors are the image's errors."""

    def __init__(self, source: tar.Readable, *errors: type[Exception]) -> None:
        self._source = source
        self._errors: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, *errors)

    def read(self, size: int, /) -> bytes:
        try:
            return self._source.read(size)
        except self._errors as error:
            raise ImageError(f"a compressed stream is damaged: {error}") from error


class _Hashing:
    """A stream that knows the digest of all that was read from it."""

    def __init__(self, source: tar.Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        piece = self._source.read(size)
        self._hash.update(piece)
        return piece

    def drain(self, limit: int) -> None:
        """Reads the rest: what follows a tar's end belongs to the digest."""
        left = limit
        while piece := self.read(CHUNK):
            left -= len(piece)
            if left < 0:
                raise ImageError("a layer goes on after its end")

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _sync_file_system(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(fd)
