"""A node that touches nothing of the host: addresses that lead nowhere, volumes that are only named.

For `--runtime simulated`, tests and simulation. It says so in the node's containerRuntimeVersion.
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.node.facts import Facts
from sampan.node.handlers import Outcome, Target
from sampan.node.images import reference
from sampan.node.images.model import Image, ImageError
from sampan.node.parts import Parts
from sampan.node.podfiles import PodFiles
from sampan.node.runtime.simulated import SimulatedRuntime

FACTS = Facts(
    cpus=32,
    memory_bytes=256 << 30,
    disk_bytes=1 << 40,
    architecture="amd64",
    operating_system="linux",
    os_image="Simulated",
    kernel="simulated",
    machine_id="",
    boot_id="",
    hostname="simulated",
)
"""The same on every machine, so that nothing about the host shows."""

Object = dict[str, Any]


def parts(client: Client, pod_cidr: str, clock: Clock, ids: Ids, tasks: Tasks) -> Parts:
    """All of a simulated node."""
    return Parts(
        client=client,
        runtime=SimulatedRuntime(clock, tasks, ids),
        images=SimulatedImages(),
        network=SimulatedNetwork(pod_cidr),
        proxy=SimulatedProxy(),
        dns=SimulatedDns(),
        volumes=SimulatedVolumes(),
        clock=clock,
        ids=ids,
        facts=FACTS,
        files=SimulatedFiles(Path("/simulated")),
        handlers=SimulatedHandlers(clock),
    )


@dataclass(frozen=True, slots=True)
class SimulatedAttachment:
    """An address without a network."""

    netns_path: str
    ip: str


class SimulatedImages:
    """Every image is there, under its own name: nothing of it is ever run."""

    def resolve(self, ref: str) -> Image | None:
        """An image without content. Raises ImageError for what is no name."""
        try:
            name = str(reference.parse(ref))
        except ValueError as error:
            raise ImageError(str(error)) from error
        return Image("sha256:" + hashlib.sha256(name.encode()).hexdigest(), (name,))

    def list(self) -> tuple[Image, ...]:
        """None takes space."""
        return ()


class SimulatedNetwork:
    """Hands out the addresses of a pod CIDR, in order; a freed one comes again last."""

    def __init__(self, pod_cidr: str) -> None:
        hosts = list(ipaddress.IPv4Network(pod_cidr).hosts())
        self._free = [str(host) for host in reversed(hosts[1:])]
        self._given: dict[str, SimulatedAttachment] = {}

    async def setup(self) -> None:
        """Nothing to set up."""

    async def add(self, pod_uid: str) -> SimulatedAttachment:
        """An address for the pod; the same one again if it has one."""
        if pod_uid not in self._given:
            if not self._free:
                raise OSError("no address is left in the node's pod CIDR")
            self._given[pod_uid] = SimulatedAttachment("", self._free.pop())
        return self._given[pod_uid]

    async def remove(self, pod_uid: str) -> None:
        """Takes the address back."""
        if attachment := self._given.pop(pod_uid, None):
            self._free.insert(0, attachment.ip)

    async def attachments(self) -> dict[str, SimulatedAttachment]:
        """What is given, by pod uid."""
        return dict(self._given)

    async def teardown(self) -> None:
        """Forgets all."""
        self._given.clear()


class SimulatedProxy:
    """Services are not reachable on a simulated node."""

    async def apply(self, services: Iterable[Object], slices: Iterable[Object]) -> bool:
        """Changes nothing."""
        return False


class SimulatedDns:
    """Names are not served on a simulated node."""

    def update(self, services: Iterable[Object], slices: Iterable[Object], pods: Iterable[Object]) -> None:
        """Nothing to update."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


class SimulatedVolumes:
    """Volumes by name only; what they refer to is still fetched, so that what is missing shows."""

    async def prepare(self, pod: Object, given: Any) -> dict[str, str]:
        """A path for each volume, at which there is nothing."""
        return {volume["name"]: f"/simulated/{volume['name']}" for volume in pod["spec"].get("volumes") or ()}

    async def mount_subpath(self, pod_uid: str, volume_path: str, inner: str, *, slot: str) -> str:
        """A path at which there is nothing."""
        return f"{volume_path}/{inner}"

    def pods(self) -> set[str]:
        """Nothing is kept."""
        return set()

    async def teardown(self, pod_uid: str) -> None:
        """Nothing to take away."""


class SimulatedFiles(PodFiles):
    """Names of files of which none is there."""

    def prepare(self, pod: Object, hosts: str, resolv: str) -> None:
        """Writes nothing."""

    def prepare_container(self, pod: Object, name: str, attempt: int) -> None:
        """Makes nothing."""

    def remove(self, pod: Object) -> None:
        """Nothing to delete."""

    def remove_by_uid(self, uid: str) -> None:
        """Nothing to delete."""

    def last_words(self, uid: str, name: str, attempt: int) -> str:
        """None: a simulated container writes nothing."""
        return ""


class SimulatedHandlers:
    """Probes and hooks succeed at once, for want of anything that could be asked; a sleep takes its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def run(self, handler: Object, target: Target, timeout_seconds: float) -> Outcome:
        """A success."""
        if "sleep" in handler:
            await self._clock.sleep(min(float(handler["sleep"]["seconds"]), timeout_seconds))
        return Outcome(True)

    async def close(self) -> None:
        """Nothing is open."""
