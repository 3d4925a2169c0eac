"""The parts of a node whose containers a CRI runtime runs: runtime, images and network, which belong together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node.images.store import ImageStore
from sampan.node.network.pod_network import PodAttachment, PodNetwork
from sampan.node.network.pod_request import NOTHING, PodRequest
from sampan.node.network.settings import NetworkSettings
from sampan.node.runtime.cri.images import CriImages
from sampan.node.runtime.cri.link import Link
from sampan.node.runtime.cri.runtime import CriRuntime, Settings
from sampan.node.runtime.logs import Kept

SCHEME = "unix://"


class CriNetwork(PodNetwork):
    """The same network as ever, whose namespaces the runtime's sandboxes join, by files that it can find."""

    def __init__(self, settings: NetworkSettings, runtime: CriRuntime) -> None:
        super().__init__(replace(settings, shows_namespaces=True))
        self._runtime = runtime

    async def add(self, pod_uid: str, request: PodRequest = NOTHING) -> PodAttachment:
        """A namespace with address, which the pod's sandbox will find."""
        attachment = await super().add(pod_uid, request)
        assert self._runtime.plugin is not None, "the runtime is not open"
        self._runtime.plugin.expect(pod_uid, attachment.netns_path, attachment.ips)
        return attachment

    async def remove(self, pod_uid: str) -> None:
        """After the pod's sandbox is gone."""
        await super().remove(pod_uid)
        if self._runtime.plugin is not None:
            self._runtime.plugin.forget(pod_uid)

    async def teardown(self) -> None:
        """All of it, also where the runtime is gone."""
        await super().teardown()
        await asyncio.to_thread(self._runtime.forget_pods)


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are: the endpoint (`unix:///...`), a directory of the node's own, its image store."""

    endpoint: str
    root: str
    images: str
    kept_logs: Kept


@dataclass(frozen=True, slots=True)
class CriParts:
    """What a node with such a runtime is made of, other than one with its own."""

    runtime: CriRuntime
    images: CriImages
    network: CriNetwork


def make(place: Place, network: NetworkSettings, clock: Clock, tasks: Tasks) -> CriParts:
    """All three; the runtime is not yet open."""
    socket = place.endpoint.removeprefix(SCHEME)
    link = Link(socket)
    settings = Settings(socket, place.root, place.images, network.run_dir, place.kept_logs)
    images = CriImages(link, ImageStore(place.images), clock)
    runtime = CriRuntime(settings, link, clock, tasks, images)
    return CriParts(runtime, images, CriNetwork(network, runtime))
