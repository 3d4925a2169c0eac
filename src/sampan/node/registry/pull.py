"""Pulling an image: its manifest, this machine's part of it, and its layers side by side, into the store.

https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from sampan.kit import threads
from sampan.kit.clock import Clock
from sampan.node.images import archive, reference
from sampan.node.images.model import Image, ImageError
from sampan.node.images.reference import Reference
from sampan.node.images.store import Fetched, ImageStore
from sampan.node.registry import session
from sampan.node.registry.config import Endpoint, Login, Registries
from sampan.node.registry.download import Downloads, Progress, Wanted
from sampan.node.registry.session import Manifest, Registry, RegistryError

LAYERS_AT_ONCE = 3
MAX_DEPTH = 3
_INDEXES = (session.OCI_INDEX, session.DOCKER_LIST)
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


def silent(digest: str, have: int, size: int) -> None:
    """Nobody is told."""


class Pulls:
    """Gets images from registries into one store. `registries` is asked anew for each pull."""

    def __init__(self, store: ImageStore, registries: Callable[[], Registries], clock: Clock) -> None:
        self._store, self._registries = store, registries
        self.connector: Callable[[], aiohttp.TCPConnector | None] = lambda: None
        """What makes a pull's connections, if they are not made as usual."""
        self._downloads = Downloads(store.downloads, clock)

    async def pull(self, ref: str, logins: Sequence[Login] = (), progress: Progress = silent) -> Image:
        """The image of a reference, as the registry has it now. ImageError in containerd's words when it can't be had.

        Every mirror and then the registry itself is asked; that one with each login until one is let in.
        """
        return (await self.pull_as(ref, logins, progress))[0]

    async def pull_as(
        self, ref: str, logins: Sequence[Login], progress: Progress = silent
    ) -> tuple[Image, Login | None]:
        """The same, with the login that was let in; None when it was none of these."""
        try:
            wanted = reference.parse(ref)
        except ValueError as error:
            raise ImageError(str(error)) from error
        domain, _, path = wanted.repository.partition("/")
        last = ImageError("there is nobody to ask")
        async with session.connection(self.connector()) as http:
            for endpoint, login in _tries(self._registries().endpoints(domain, path), logins):
                try:
                    return await self._from(http, endpoint, login, (wanted, progress)), login
                except ImageError as error:
                    last = error
        raise ImageError(f'failed to pull and unpack image "{wanted}": {last}') from last

    async def _from(
        self,
        http: aiohttp.ClientSession,
        endpoint: Endpoint,
        login: Login | None,
        what: tuple[Reference, Progress],
    ) -> Image:
        wanted, progress = what
        try:
            registry = Registry(http, endpoint, login)
            top = await registry.manifest(wanted.digest or wanted.tag)
            manifest = await _of_this_machine(registry, top)
        except RegistryError as error:
            said = f"{wanted}: {error}" if error.status == 404 else str(error)
            raise ImageError(f'failed to resolve reference "{wanted}": {said}') from error
        config, layers = _described(manifest)
        try:
            files = await self._fetch(registry, [config, *layers], progress)
        except RegistryError as error:
            raise ImageError(f"failed to copy: {error}") from error
        fetched = Fetched(
            config=config.digest,
            layers=tuple(layer.digest for layer in layers),
            manifest=manifest.body,
            tags=() if wanted.digest else (str(wanted),),
            digests=(f"{wanted.repository}@{top.digest}",),
            files=files,
        )
        return await threads.to_its_end(self._store.add_fetched, fetched)

    async def _fetch(self, registry: Registry, blobs: Sequence[Wanted], progress: Progress) -> dict[str, Path]:
        """What is not here yet, a few at a time, as files by digest; the first failure ends all."""
        slots = asyncio.Semaphore(LAYERS_AT_ONCE)
        files: dict[str, Path] = {}

        async def one(blob: Wanted) -> None:
            if self._store.has_blob(blob.digest):
                progress(blob.digest, blob.size, blob.size)
                return
            async with slots:
                files[blob.digest] = await self._downloads.fetch(registry, blob, progress)

        await _all(one(blob) for blob in dict.fromkeys(blobs))
        return files


def _tries(endpoints: Iterable[Endpoint], logins: Sequence[Login]) -> Iterable[tuple[Endpoint, Login | None]]:
    """Pull secrets are for the registry that the image names, and for no mirror of it."""
    for endpoint in endpoints:
        for login in () if endpoint.is_mirror else logins:
            yield endpoint, login
        if endpoint.is_mirror or endpoint.login is not None or not logins:
            yield endpoint, None


async def _of_this_machine(registry: Registry, manifest: Manifest) -> Manifest:
    """Follows indexes to the manifest for this machine."""
    for _ in range(MAX_DEPTH):
        tree = manifest.tree
        if manifest.media_type not in _INDEXES and "manifests" not in tree:
            return manifest
        if "layers" in tree or not isinstance(tree.get("manifests"), list):
            raise ImageError("the image index is ambiguous")
        usable = [item for item in tree["manifests"] if isinstance(item, dict) and archive.fits(item)]
        if not usable:
            raise ImageError(f"no match for platform in manifest: linux/{archive.architecture()}: not found")
        manifest = await registry.manifest(str(usable[0].get("digest")))
    raise ImageError("the image index is nested too deeply")


def _described(manifest: Manifest) -> tuple[Wanted, list[Wanted]]:
    """The configuration and the layers, the lowest first. Raises ImageError for what is no image."""
    tree = manifest.tree
    if tree.get("schemaVersion") != 2:
        raise ImageError("manifests of schema version 1 are not supported; push the image again with a newer tool")
    config, layers = tree.get("config"), tree.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise ImageError("the manifest names no configuration or no layers")
    if config.get("mediaType") not in _CONFIGS:
        raise ImageError(f"it is not a container image but {config.get('mediaType')!r}")
    for layer in layers:
        kind = str(layer.get("mediaType")) if isinstance(layer, dict) else ""
        if ".tar" not in kind or layer.get("urls"):
            raise ImageError(f"layers of type {kind!r} are not supported")
    return _wanted(config), [_wanted(layer) for layer in layers]


def _wanted(descriptor: dict[str, Any]) -> Wanted:
    digest, size = descriptor.get("digest"), descriptor.get("size")
    if not isinstance(digest, str) or not isinstance(size, int) or size < 0:
        raise ImageError("the manifest describes a blob without digest or size")
    return Wanted(digest, size)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of it; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [e for e in ended if isinstance(e, BaseException) and not isinstance(e, asyncio.CancelledError)]
    if failures:
        raise failures[0]
