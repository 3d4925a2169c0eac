"""Reads image archives as `docker save`, `skopeo` or `buildah` write them: which images, which blobs.

Docker's format has `manifest.json` (https://github.com/moby/docker-image-spec), an OCI layout
`index.json` (https://github.com/opencontainers/image-spec/blob/main/image-layout.md); an archive may
hold both, and then Docker's is taken, as it has the names.
"""

from __future__ import annotations

import os
import platform
import posixpath
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from sampan.node.images import content, tar
from sampan.node.images.model import ImageError

MAX_MEMBERS = 100_000
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


@dataclass(frozen=True, slots=True)
class Found:
    """One image of an archive: its configuration and the member names of its layers, the lowest first."""

    config: bytes
    layers: tuple[str, ...]
    layer_digests: tuple[str, ...]
    """What the manifest says of the layers as stored; empty for Docker's format, which does not say."""
    names: tuple[str, ...]


class Members:
    """Random access to the members of an uncompressed tar file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        reader = tar.TarReader(file)
        for count, entry in enumerate(reader):
            if count > MAX_MEMBERS:
                raise ImageError(f"the archive has more than {MAX_MEMBERS} members")
            name = posixpath.normpath(entry.name).lstrip("/")
            if entry.type == tar.FILE:
                self._places[name] = (reader.position, entry.size)
            elif entry.type == tar.SYMLINK:
                self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.link))
            elif entry.type == tar.HARDLINK:
                self._links[name] = posixpath.normpath(entry.link).lstrip("/")

    def __contains__(self, name: str) -> bool:
        return self._resolve(name) in self._places

    def open(self, name: str) -> Slice:
        """The member's bytes as a stream."""
        place = self._places.get(self._resolve(name))
        if place is None:
            raise ImageError(f"the archive has no {name!r}")
        return Slice(self._file, *place)

    def read(self, name: str) -> bytes:
        """A member that is a document."""
        stream = self.open(name)
        if stream.left > content.MAX_DOCUMENT_BYTES:
            raise ImageError(f"{name!r} is larger than 4 MiB")
        return stream.read(stream.left)

    def _resolve(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(8):
            if name not in self._links:
                break
            name = self._links[name]
        return name


class Slice:
    """A part of a file as a stream of its own; the file's position is not shared."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._fd = file.fileno()
        self._at = start
        self.left = size

    def read(self, size: int, /) -> bytes:
        piece = os.pread(self._fd, min(size, self.left), self._at)
        self._at += len(piece)
        self.left -= len(piece)
        return piece


def images(members: Members) -> list[Found]:
    """The images in the archive, in its order. ImageError if there are none."""
    if "manifest.json" in members:
        return [_from_docker(members, record) for record in _records(members.read("manifest.json"))]
    if "index.json" in members:
        return _from_index(members, content.document(members.read("index.json")), "", 0)
    raise ImageError("the archive is neither a docker nor an OCI image archive (no manifest.json, no index.json)")


def _records(data: bytes) -> list[dict[str, Any]]:
    try:
        records = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ImageError(f"manifest.json is not JSON: {error}") from error
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise ImageError("manifest.json lists no images")
    return records


def _from_docker(members: Members, record: dict[str, Any]) -> Found:
    config, layers, names = record.get("Config"), record.get("Layers") or [], record.get("RepoTags") or []
    if not isinstance(config, str) or not _are_texts(layers) or not _are_texts(names):
        raise ImageError("manifest.json names no configuration or no layers")
    return Found(members.read(config), tuple(layers), (), tuple(names))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _from_index(members: Members, index: dict[str, Any], name: str, depth: int) -> list[Found]:
    descriptors = index.get("manifests")
    if depth > 3 or not isinstance(descriptors, list) or "layers" in index:
        raise ImageError("an image index is ambiguous or nested too deeply")
    usable = [item for item in descriptors if isinstance(item, dict) and fits(item)]
    if not usable:
        raise ImageError(f"the archive has no image for linux/{architecture()}")
    found: list[Found] = []
    for descriptor in usable if depth == 0 else usable[:1]:
        found.extend(_from_descriptor(members, descriptor, name, depth))
    return found


def _from_descriptor(members: Members, descriptor: dict[str, Any], name: str, depth: int) -> list[Found]:
    notes = descriptor.get("annotations") or {}
    named = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name") or name
    manifest = _blob_document(members, descriptor)
    if descriptor.get("mediaType") in _INDEXES or "manifests" in manifest:
        return _from_index(members, manifest, named, depth + 1)
    layers, config = manifest.get("layers"), manifest.get("config")
    if not isinstance(layers, list) or not isinstance(config, dict):
        raise ImageError("a manifest names no configuration or no layers")
    digests = tuple(str(layer.get("digest")) for layer in layers)
    raw = _checked(members, config)
    return [Found(raw, tuple(map(_blob_name, digests)), digests, (named,) if named else ())]


def _blob_document(members: Members, descriptor: dict[str, Any]) -> dict[str, Any]:
    return content.document(_checked(members, descriptor))


def _checked(members: Members, descriptor: dict[str, Any]) -> bytes:
    digest = str(descriptor.get("digest"))
    data = members.read(_blob_name(digest))
    if content.digest_of(data) != digest:
        raise ImageError(f"a blob's digest is {content.digest_of(data)}, not {digest}")
    return data


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def fits(descriptor: dict[str, Any]) -> bool:
    """Whether an index's entry is an image for this machine."""
    wanted = descriptor.get("platform") or {}
    if (descriptor.get("annotations") or {}).get("vnd.docker.reference.type") == "attestation-manifest":
        return False
    return bool(wanted.get("os", "linux") == "linux" and wanted.get("architecture", architecture()) == architecture())


def architecture() -> str:
    """This machine's architecture in the image format's words (`amd64`)."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)
