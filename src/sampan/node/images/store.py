"""The node's images: loads archives and root file systems, finds images by reference, removes them.

Agent and command line use the same directory, each through a store of its own: whoever writes holds the
lock, whoever reads takes the index as it is. All methods block; call them from a thread where that matters.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from sampan.node.images import archive, content, documents, holders, reference, unpack, workrooms
from sampan.node.images.model import Image, ImageConfig, ImageError

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MAX_LAYERS = 127
_MAX_STEPS = 500
"""Of builds, that are kept so that they need not be done again."""
_MOST_CONFIGS = 500


Images = list[Image]
Texts = list[str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that came from a registry: its blobs by digest, and what it is called."""

    config: str
    layers: tuple[str, ...]
    manifest: bytes
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    files: Mapping[str, Path]
    """Where the blobs lie that were not here yet; they are moved into the store."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as a registry takes it: its manifest, and the files of its blobs by digest."""

    manifest: bytes
    digest: str
    media_type: str
    blobs: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a build starts from: an image's whole configuration, and its layers as pairs of blob and diff id."""

    document: dict[str, Any]
    layers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Names:
    """What an image is called; `manifest` is its own where it has one."""

    tags: list[str]
    digests: tuple[str, ...] = ()
    manifest: bytes = b""
    is_pulled: bool = False


class ImageStore:
    """Images below one directory."""

    def __init__(self, root: str | Path, limits: unpack.Limits | None = None) -> None:
        self._content = content.Content(root)
        self._limits = limits or unpack.Limits()
        self._configs: dict[str, ImageConfig] = {}

    def load_archive(self, path: str | Path) -> Images:
        """Takes the images of a docker or OCI archive (itself plain, gzip or zstd). ImageError says what is wrong."""
        with self._content.locked(), _opened(path) as raw, self._plain(raw) as file:
            members = archive.Members(file)
            return [self._load(members, found) for found in archive.images(members)]

    @property
    def downloads(self) -> Path:
        """Where blobs wait that are not an image's yet."""
        return self._content.root / "downloads"

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is here. ImageError for what is no digest."""
        return self._content.blob_path(digest).exists()

    def is_pulled(self, ref: str) -> bool:
        """Whether the tag came from a registry, and was not loaded or imported by hand."""
        try:
            name = str(reference.parse(ref))
        except ValueError as error:
            raise ImageError(str(error)) from error
        return any(name in record.get("pulled", ()) for record in self._content.index()["images"].values())

    def is_loaded(self, ref: str) -> bool:
        """Whether the image was loaded or imported by hand under this name (a digest: under a tag beside it)."""
        image = self.resolve(ref)
        if image is None:
            return False
        pulled = self._content.index()["images"][image.id].get("pulled", ())
        tags = [tag for tag in image.repo_tags if tag not in pulled]
        if reference.image_id(ref) is not None:
            return bool(tags)
        name = reference.parse(ref)
        return any(tag.startswith(f"{name.repository}:") for tag in tags) if name.digest else str(name) in tags

    def stored(self, ref: str) -> Stored:
        """The image's files. ImageError if there is none."""
        image = self.resolve(ref)
        if image is None:
            raise ImageError(f"no image {ref!r}")
        record = self._content.index()["images"][image.id]
        manifest = self._content.blob_path(record["manifest"]).read_bytes()
        kind = content.document(manifest).get("mediaType") or _MANIFEST
        blobs = {digest: self._content.blob_path(digest) for digest in (*record["blobs"], image.id)}
        return Stored(manifest, record["manifest"], kind, blobs)

    def add_fetched(self, fetched: Fetched) -> Image:
        """Takes the blobs and unpacks the layers. ImageError says what is wrong."""
        if len(fetched.layers) > _MAX_LAYERS:
            raise ImageError(f"the image has more than {_MAX_LAYERS} layers")
        with self._content.locked():
            self._content.take_blobs(fetched.files)
            for digest in (fetched.config, *fetched.layers):
                if not self.has_blob(digest):  # somebody removed what was here when the pull began
                    raise ImageError(f"blob {digest} is gone; pull the image again")
            document = self._content.blob_path(fetched.config).read_bytes()
            names = _Names(list(fetched.tags), fetched.digests, fetched.manifest, is_pulled=True)
            return self._record(document, list(fetched.layers), names)

    @property
    def builds(self) -> Path:
        """Where builds have what is not finished, and what their commands want to keep."""
        return self._content.root / "builds"

    def origin(self, image: Image) -> Origin:
        """What an image is made of. ImageError when somebody has just removed it."""
        try:
            record = self._content.index()["images"][image.id]
            layers = tuple(zip(record["blobs"], record["layers"], strict=True))
            return Origin(self._content.read_document(image.id), layers)
        except (LookupError, FileNotFoundError) as error:
            raise ImageError(f"image {image.reference} is gone") from error

    def layer_directories(self, diff_ids: Iterable[str]) -> tuple[str, ...]:
        """Where the layers are unpacked, the lowest first. Of one that is there twice the upper one hides the other."""
        found = [str(self._content.layer_path(diff_id)) for diff_id in diff_ids]
        return tuple(reversed(dict.fromkeys(reversed(found))))

    def step(self, key: str) -> str | None:
        """The layer that a build's step made before (empty: it changed nothing); None if it has to be made."""
        diff_id: str | None = self._content.index().get("steps", {}).get(key)
        is_here = diff_id == "" or (
            diff_id and self.has_blob(diff_id) and all(map(os.path.isdir, self.layer_directories([diff_id])))
        )
        return diff_id if is_here else None

    def add_step(self, key: str, layer: BinaryIO | None) -> str:
        """Keeps what a build's step made, a tar or nothing; returns the layer. ImageError."""
        diff_id = ""
        with self._content.locked():
            if layer is not None:
                diff_id, _ = self._content.add_blob(layer, limit=self._limits.total_bytes)
                self._content.add_layer(self._content.blob_path(diff_id), diff_id, self._limits)
            index = _copy(self._content.index())
            steps = {name: found for name, found in index.get("steps", {}).items() if name != key}
            index["steps"] = dict([*steps.items(), (key, diff_id)][-_MAX_STEPS:])
            self._content.write_index(index)
        return diff_id

    def add_built(self, config: bytes, blobs: Texts, tags: Texts) -> Image:
        """Makes an image of a configuration and layers that are here. ImageError."""
        names = [_full_name(tag) for tag in tags]
        if len(blobs) > _MAX_LAYERS:
            raise ImageError(f"the image has more than {_MAX_LAYERS} layers")
        with self._content.locked():
            if not all(self.has_blob(blob) for blob in blobs):
                raise ImageError("a layer was removed while the image was built; build it again")
            return self._record(config, blobs, _Names(names))

    def import_rootfs(self, source: str | Path, tag: str, config: ImageConfig | None = None) -> Image:
        """Makes a one-layer image of a directory or of a tar file with a root file system in it."""
        name = _full_name(tag)
        with self._content.locked():
            if Path(source).is_dir():
                blob, _ = self._add_directory(Path(source))
            else:
                with _opened(source) as raw, self._plain(raw) as file:
                    file.seek(0)
                    blob, _ = self._content.add_blob(file, limit=self._limits.total_bytes)
            document = orjson.dumps(documents.made(config or ImageConfig(), blob), option=orjson.OPT_SORT_KEYS)
            return self._record(document, [blob], _Names([name]))

    def resolve(self, ref: str) -> Image | None:
        """The image of a reference, in any of the forms Docker takes, or of an id; None if it is not here."""
        images = self._content.index()["images"]
        identity = reference.image_id(ref)
        if identity is not None:
            return self._image_if_here(identity, images[identity]) if identity in images else None
        try:
            wanted = reference.parse(ref)
        except ValueError as error:
            raise ImageError(str(error)) from error
        name = f"{wanted.repository}@{wanted.digest}" if wanted.digest else str(wanted)
        for found, record in images.items():
            if name in record["tags"] or name in record["digests"]:
                return self._image_if_here(found, _named_first(record, name, wanted.repository))
        return None

    def list(self) -> Images:
        """All images, sorted by id."""
        found = (self._image_if_here(*entry) for entry in sorted(self._content.index()["images"].items()))
        return [image for image in found if image is not None]

    def remove(self, ref: str) -> bool:
        """Removes a name, or with an id or the last tag the image, and what nobody refers to any more.

        False if there is none; ImageError while it is in use.
        """
        with self._content.locked(), holders.settled(self._content.root):
            image = self.resolve(ref)
            if image is None:
                return False
            index = _copy(self._content.index())
            record = index["images"][image.id]
            if reference.image_id(ref) is not None or not _is_still_named(record, reference.parse(ref)):
                self._refuse_if_used(image)
                del index["images"][image.id]
            self._content.write_index(index)
            self._sweep(index)
        return True

    def prune(self, used: Collection[str] = ()) -> tuple[Images, int]:
        """Removes the images that no container is made of, and parts of pulls that nobody goes on with.

        `used` are digests or ids of images that are to stay, though no container of them runs now.

        Returns them, and the bytes of their files.
        """
        with self._content.locked(), holders.settled(self._content.root):
            in_use = self._in_use()
            kept = {image.id for image in map(self.resolve, used) if image is not None}
            unused = [image for image in self.list() if image.id not in kept and not in_use(image)]
            index = _copy(self._content.index())
            for image in unused:
                del index["images"][image.id]
            self._content.write_index(index)
            self._sweep(index)
            self._drop_downloads()
        self.forget_builds()
        return unused, sum(image.size for image in unused)

    def forget_builds(self) -> int:
        """Drops what is kept so that builds need not do it again, unless one is under way; returns the bytes."""
        freed = 0
        with self._content.locked(), holders.settled(self._content.root), workrooms.locked(self.builds):
            index = _copy(self._content.index())
            if not workrooms.is_building(self.builds) and index.pop("steps", None):
                self._content.write_index(index)
                freed = self._sweep(index)
        workrooms.clear(self.builds)
        return freed

    def _drop_downloads(self) -> None:
        for path in self.downloads.iterdir() if self.downloads.is_dir() else ():
            with (
                contextlib.suppress(OSError),
                (self.downloads / f"{path.name.partition('.')[0]}.lock").open("a") as lock,
            ):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else somebody is fetching it
                path.unlink()

    def save(self, ref: str, path: str | Path) -> None:
        """Writes the image as an OCI archive that also docker can load."""
        image = self.resolve(ref)
        if image is None:
            raise ImageError(f"no image {ref!r}")
        record = self._content.index()["images"][image.id]
        blobs = [record["manifest"], image.id, *record["blobs"]]
        names = {digest: "blobs/" + digest.replace(":", "/", 1) for digest in blobs}
        descriptor = _descriptor(_MANIFEST, record["manifest"], self._content)
        descriptors = [{**descriptor, "annotations": _annotations(tag)} for tag in record["tags"]] or [descriptor]
        docker = [
            {"Config": names[image.id], "RepoTags": record["tags"], "Layers": [names[b] for b in record["blobs"]]}
        ]
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
            for digest in dict.fromkeys(blobs):
                out.add(self._content.blob_path(digest), names[digest], filter=_plain_member)
            for name, tree in (
                ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
                ("index.json", {"schemaVersion": 2, "manifests": descriptors}),
                ("manifest.json", docker),
            ):
                _add_bytes(out, name, orjson.dumps(tree))

    def _plain(self, raw: BinaryIO) -> BinaryIO:
        """The archive itself if it is not compressed, else an unnamed file with its content."""
        source = content.decompressed(raw)
        if source is raw:
            return raw
        copy = tempfile.TemporaryFile(dir=self._content.root / "tmp")  # noqa: SIM115 - the caller closes it
        total = 0
        while piece := source.read(content.CHUNK):
            total += len(piece)
            if total > self._limits.total_bytes:
                raise ImageError(f"the archive is larger than {self._limits.total_bytes} bytes")
            copy.write(piece)
        copy.flush()
        copy.seek(0)
        return copy

    def _load(self, members: archive.Members, found: archive.Found) -> Image:
        if len(found.layers) > _MAX_LAYERS:
            raise ImageError(f"the image has more than {_MAX_LAYERS} layers")
        blobs: Texts = []
        for index, layer in enumerate(found.layers):
            digest = found.layer_digests[index] if found.layer_digests else ""
            if not digest or not self._content.blob_path(digest).exists():
                digest, _ = self._content.add_blob(members.open(layer), digest, self._limits.total_bytes)
            blobs.append(digest)
        return self._record(found.config, blobs, _Names([_full_name(name) for name in found.names]))

    def _add_directory(self, source: Path) -> tuple[str, int]:
        with tempfile.TemporaryFile(dir=self._content.root / "tmp") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as out:
                out.add(source, ".", filter=_with_capability(source))
            file.seek(0)
            return self._content.add_blob(file, limit=self._limits.total_bytes)

    def _record(self, config: bytes, blobs: Texts, names: _Names) -> Image:
        document = content.document(config)
        documents.parsed(document)
        diff_ids = documents.diff_ids_of(document)
        if len(diff_ids) != len(blobs):
            raise ImageError("the configuration names another number of layers than the manifest")
        left = self._limits.total_bytes
        for blob, diff_id in zip(blobs, diff_ids, strict=True):
            limits = unpack.Limits(self._limits.entries, left)
            left -= self._content.add_layer(self._content.blob_path(blob), diff_id, limits)
        identity, _ = self._content.add_blob(_Bytes(config))
        manifest, _ = self._content.add_blob(_Bytes(names.manifest or self._manifest(identity, blobs)))
        index = _copy(self._content.index())
        for record in index["images"].values():
            for kept in ("tags", "pulled"):
                record[kept] = [tag for tag in record.get(kept, ()) if tag not in names.tags]
        record = index["images"].setdefault(identity, {"tags": [], "digests": [], "pulled": []})
        record["tags"] = sorted({*record["tags"], *names.tags})
        record["pulled"] = sorted({*record["pulled"], *(names.tags if names.is_pulled else ())})
        own = {reference.parse(tag).repository + "@" + manifest for tag in names.tags}
        record["digests"] = sorted({*record["digests"], *(names.digests or own)})
        record |= {"manifest": manifest, "blobs": blobs, "layers": diff_ids, "size": self._limits.total_bytes - left}
        self._content.write_index(index)
        return self._image(identity, record)

    def _manifest(self, config: str, blobs: Texts) -> bytes:
        layers = []
        for blob in blobs:
            with self._content.blob_path(blob).open("rb") as file:
                magic = file.read(4)
            kind = "+gzip" if magic[:2] == b"\x1f\x8b" else "+zstd" if magic == b"\x28\xb5\x2f\xfd" else ""
            layers.append(_descriptor(_LAYER + kind, blob, self._content))
        tree = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config, self._content),
            "layers": layers,
        }
        return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)

    def _image_if_here(self, identity: str, record: dict[str, Any]) -> Image | None:
        """None when somebody has just removed it: the index was read without the lock."""
        try:
            return self._image(identity, record)
        except FileNotFoundError:
            return None

    def _image(self, identity: str, record: dict[str, Any]) -> Image:
        return Image(
            id=identity,
            repo_tags=tuple(record["tags"]),
            repo_digests=tuple(record["digests"]),
            size=record["size"],
            config=self._config(identity),
            layer_dirs=self.layer_directories(record["layers"]),
            is_pinned=_is_pinned(record),
        )

    def _config(self, identity: str) -> ImageConfig:
        """Of a document that is there; what is in it follows from its name, so it is read once."""
        os.stat(self._content.blob_path(identity))
        if identity not in self._configs:
            if len(self._configs) >= _MOST_CONFIGS:
                self._configs.clear()
            self._configs[identity] = documents.parsed(self._content.read_document(identity))
        return self._configs[identity]

    def _refuse_if_used(self, image: Image) -> None:
        """Deleting the lower directory of a mounted overlay would pull the files from under a container."""
        if self._in_use()(image):
            raise ImageError(f"image {image.reference} is being used by a container")

    def _in_use(self) -> Callable[[Image], bool]:
        """Tells of an image whether a container, a build or a mount is made of its layers now."""
        is_layer_used = self._layer_in_use()
        return lambda image: any(is_layer_used(Path(layer).name) for layer in image.layer_dirs)

    def _layer_in_use(self) -> Callable[[str], bool]:
        mounts, held = _mounts(), holders.held(self._content.root)
        return lambda name: name in held or name in mounts

    def _sweep(self, index: dict[str, Any]) -> int:
        """Deletes what the index doesn't name, but for layers in use; returns the bytes."""
        blobs: set[str] = set()
        layers: set[str] = set()
        for identity, record in index["images"].items():
            blobs.update(digest.partition(":")[2] for digest in (identity, record["manifest"], *record["blobs"]))
            layers.update(self._content.layer_path(diff_id).name for diff_id in record["layers"])
        for diff_id in filter(None, index.get("steps", {}).values()):
            blobs.add(diff_id.partition(":")[2])
            layers.add(self._content.layer_path(diff_id).name)
        freed, is_used = 0, self._layer_in_use()
        for blob in (self._content.root / "blobs" / "sha256").iterdir():
            if blob.name not in blobs:
                freed += blob.stat().st_size
                blob.unlink()
        for layer in (self._content.root / "l").iterdir():
            name = layer.name.removesuffix(".size")
            if name in layers or is_used(name):
                continue
            if layer.is_dir():
                layer.rename(self._content.root / "tmp" / name)  # emptied when nobody waits for the marks any more
            else:
                freed += int(layer.read_text() or 0) if layer.suffix == ".size" else 0
                layer.unlink()
        return freed


def _is_pinned(record: dict[str, Any]) -> bool:
    """Whether one of its names did not come from a registry, or it has none at all."""
    if not (record["tags"] or record["digests"]):
        return True
    return not set(record["tags"]) <= set(record.get("pulled", ()))


def _is_still_named(record: dict[str, Any], name: reference.Reference) -> bool:
    """Takes the name from the record; whether the image is to stay for another one."""
    if name.digest:
        record["digests"].remove(f"{name.repository}@{name.digest}")
        return bool(record["tags"] or record["digests"])
    record["tags"].remove(str(name))
    record["pulled"] = [tag for tag in record.get("pulled", ()) if tag != str(name)]
    if not any(tag.startswith(f"{name.repository}:") for tag in record["tags"]):
        record["digests"] = [digest for digest in record["digests"] if not digest.startswith(f"{name.repository}@")]
    return bool(record["tags"])


def _named_first(record: dict[str, Any], name: str, repository: str) -> dict[str, Any]:
    """The record with the name that was asked for before the image's other names."""
    tags = sorted(record["tags"], key=lambda tag: tag != name)
    digests = sorted(record["digests"], key=lambda digest: (digest != name, not digest.startswith(f"{repository}@")))
    return {**record, "tags": tags, "digests": digests}


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")


class _Bytes:
    """Bytes as a stream."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        piece, self._data = self._data[:size], self._data[size:]
        return piece


def _opened(path: str | Path) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def _full_name(tag: str) -> str:
    try:
        return str(reference.parse(tag))
    except ValueError as error:
        raise ImageError(f"{tag!r}: {error}") from error


def _descriptor(kind: str, digest: str, files: content.Content) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": files.blob_path(digest).stat().st_size}


def _annotations(tag: str) -> dict[str, str]:
    return {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": reference.parse(tag).tag}


def _copy(index: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = orjson.loads(orjson.dumps(index))
    return copied


def _plain_member(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    info.mtime = 0
    return info


def _with_capability(source: Path) -> Any:
    def keep(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not (info.isfile() or info.isdir() or info.issym() or info.islnk() or info.isfifo()):
            return None
        info.uname = info.gname = ""
        if info.isfile():
            try:
                value = os.getxattr(source / info.name, "security.capability", follow_symlinks=False)
            except OSError:
                return info
            text = value.decode("utf-8", "surrogateescape")
            info.pax_headers = {**info.pax_headers, "SCHILY.xattr.security.capability": text}
        return info

    return keep


def _add_bytes(out: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        out.addfile(info, file)
