"""Images of a cluster whose containers a CRI runtime runs: those of the node's own store, and the runtime's."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from sampan.cli import image_transfer
from sampan.cli.main import CommandError
from sampan.cluster import container_runtime
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.node.images.store import ImageStore
    from sampan.node.runtime.cri.images import CriImages

T = TypeVar("T")


def with_runtime(cluster: Settings, store: "ImageStore", work: "Callable[[CriImages], Awaitable[T]]") -> T:
    """What comes of the work with both of them. Raises CommandError when the runtime does not answer."""
    from sampan.kit.clock import SystemClock
    from sampan.node.rpc.service import RpcError
    from sampan.node.runtime.cri.images import CriImages
    from sampan.node.runtime.cri.link import Link

    async def done() -> T:
        link = Link(cluster.runtime.removeprefix(container_runtime.SCHEME))
        try:
            images = CriImages(link, store, SystemClock())
            await images.refresh(is_needed=True)
            return await work(images)
        finally:
            link.close()

    try:
        return asyncio.run(done())
    except RpcError as error:
        raise CommandError(f"the runtime at {cluster.runtime}: {error}") from error


def remove(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    """From both. Raises ImageError."""
    if not with_runtime(cluster, store, lambda images: images.remove(arguments.image)):
        raise CommandError(f"there is no image {arguments.image}; see: sampan image list")
    print(f"removed {arguments.image}")
    return 0


def pull(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    """By the runtime, from where it is told to get images."""
    logins = image_transfer.logins(arguments, arguments.image)
    why = with_runtime(cluster, store, lambda images: images.fetch(arguments.image, logins))
    if why:
        raise CommandError(f"{arguments.image}: {why}")
    print(f"pulled {arguments.image}")
    return 0


def used(cluster: Settings, store: "ImageStore") -> set[str]:
    """The images that the runtime's containers are made of."""
    return with_runtime(cluster, store, lambda images: images.used())
