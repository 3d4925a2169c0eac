"""Images that were loaded into the node's own store, handed over to the runtime when a container is first made of them.

CRI can only pull; so the archive goes in by containerd's own `ctr`, which comes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.kit.clock import Clock
from sampan.node import outsiders
from sampan.node.images.model import Image, ImageConfig, ImageError
from sampan.node.images.store import ImageStore
from sampan.node.rpc.service import RpcError
from sampan.node.runtime import pause, programs
from sampan.node.runtime.cri.link import Link
from sampan.node.runtime.protocol import RuntimeFailure

if TYPE_CHECKING:
    from sampan.node.runtime.cri.runtime import Settings

NAMESPACE = "k8s.io"
"""Where containerd's CRI plugin has everything."""
GIVE_SECONDS = 600.0
KNOWN_SECONDS = 5.0


class Handover:
    """From one store to one runtime."""

    def __init__(self, link: Link, settings: Settings, clock: Clock) -> None:
        self._link, self._socket, self._clock = link, settings.socket, clock
        self._store = ImageStore(settings.images)
        self._file = Path(settings.root, "handed-over")
        self._known: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure_sandbox_image(self, name: str) -> None:
        """What a pod's first process is made of: the runtime's own, or else this node's. Raises RuntimeFailure.

        So no registry is needed for pods whose own images are here.
        """
        if name and not await self.is_there(name):
            with tempfile.TemporaryDirectory(prefix="sampan-pause-") as folder:
                store = ImageStore(os.path.join(folder, "images"))
                image = await asyncio.to_thread(_pause_image, Path(folder), store, name)
                await self._give(image, store)

    async def ensure(self, image: Image) -> None:
        """The runtime has it. Raises RuntimeFailure."""
        if not image.layer_dirs or image.id in self._known:
            return  # it came from the runtime itself, or is there already
        async with self._locks.setdefault(image.id, asyncio.Lock()):
            if not await self.is_there(image.id):
                await self._give(image, self._store)
            self._known.add(image.id)

    async def is_there(self, ref: str) -> bool:
        """Whether the runtime has the image. Raises RuntimeFailure."""
        try:
            answer = await self._link.call("ImageStatus", {"image": {"image": ref}})
        except RpcError as error:
            raise RuntimeFailure("ImageInspectError", str(error)) from error
        return answer["image"] is not None

    def forget(self, image_id: str) -> None:
        """It may not be there any more."""
        self._known.discard(image_id)

    async def take_back(self) -> None:
        """Removes from the runtime what was handed over: the store still has it."""
        for image_id in _lines(self._file):
            with contextlib.suppress(RpcError):
                await self._link.call("RemoveImage", {"image": {"image": image_id}})
        self._file.unlink(missing_ok=True)
        self._known.clear()

    async def _give(self, image: Image, store: ImageStore) -> None:
        ctr = programs.find("ctr")
        if not shutil.which(ctr):
            raise RuntimeFailure(
                "ErrImagePull", "ctr is missing: it comes with containerd, and takes images from files"
            )
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(f"{image.id}\n")
        with tempfile.NamedTemporaryFile(prefix="sampan-image-", suffix=".tar") as archive:
            try:
                await asyncio.to_thread(store.save, image.id, archive.name)
            except (ImageError, OSError) as error:
                raise RuntimeFailure("ErrImagePull", f"image {image.reference}: {error}") from error
            command = (ctr, "--address", self._socket, "--namespace", NAMESPACE, "images", "import", archive.name)
            try:
                answer = await outsiders.ask(command, GIVE_SECONDS)
            except (OSError, outsiders.NoAnswer) as error:
                raise RuntimeFailure("ErrImagePull", f"image {image.reference}: ctr: {error}") from error
        if answer.code:
            why = programs.error_text(answer.output + answer.errors) or f"ctr ended with {answer.code}"
            raise RuntimeFailure("ErrImagePull", f"image {image.reference} could not be handed over: {why}")
        await self._wait_known(image.id)

    async def _wait_known(self, image_id: str) -> None:
        """The CRI plugin is told of new images by an event."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KNOWN_SECONDS):
                while not await self.is_there(image_id):
                    await self._clock.sleep(0.01)
                return
        raise RuntimeFailure("ErrImagePull", f"image {image_id} was handed over, but the runtime does not know it")


def _pause_image(folder: Path, store: ImageStore, name: str) -> Image:
    program = folder / "fs" / "pause"
    program.parent.mkdir()
    program.write_bytes(pause.keeper(platform.machine()))
    program.chmod(0o755)
    return store.import_rootfs(program.parent, name, ImageConfig(entrypoint=("/pause",)))


def _lines(path: Path) -> list[str]:
    try:
        return list(dict.fromkeys(path.read_text().split()))
    except FileNotFoundError:
        return []
