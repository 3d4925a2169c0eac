"""Pushing an image: the blobs that the registry lacks, then the manifest under its name.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sampan.node.images import reference
from sampan.node.images.model import ImageError
from sampan.node.images.store import ImageStore
from sampan.node.registry import session
from sampan.node.registry.config import Login, Registries
from sampan.node.registry.download import PIECE, Progress
from sampan.node.registry.session import Manifest, Registry, RegistryError


class Pushes:
    """Sends images of one store to the registries that their names say; mirrors are not written to."""

    def __init__(self, store: ImageStore, registries: Callable[[], Registries]) -> None:
        self._store, self._registries = store, registries

    async def push(self, ref: str, target: str, logins: Sequence[Login], progress: Progress) -> str:
        """Sends the image of a reference under the name `target`; the manifest's digest. ImageError says why not."""
        try:
            wanted = reference.parse(target)
        except ValueError as error:
            raise ImageError(str(error)) from error
        if wanted.digest:
            raise ImageError("an image is pushed under a tag, not under a digest")
        stored = self._store.stored(ref)
        domain, _, path = wanted.repository.partition("/")
        endpoint = self._registries().endpoints(domain, path)[-1]
        last: ImageError = ImageError("there is nobody to ask")
        async with session.connection() as http:
            for login in (*logins, None):
                registry = Registry(http, endpoint, login)
                try:
                    for digest, blob in stored.blobs.items():
                        await _send(registry, digest, blob, progress)
                    await registry.put_manifest(wanted.tag, Manifest(stored.digest, stored.media_type, stored.manifest))
                except RegistryError as error:
                    last = error
                else:
                    return stored.digest
        raise ImageError(f'failed to push "{wanted}": {last}') from last


async def _send(registry: Registry, digest: str, path: Path, progress: Progress) -> None:
    size = _size(path)
    if not await registry.has(f"blobs/{digest}"):
        progress(digest, 0, size)
        await registry.put_blob(digest, size, partial(_pieces, path))
    progress(digest, size, size)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with _opened(path) as file:
        while piece := file.read(PIECE):
            yield piece


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _size(path: Path) -> int:
    return path.stat().st_size
