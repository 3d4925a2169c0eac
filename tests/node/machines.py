"""A machine that is made up: what is left of it, and what its pods use, is what a test says."""

import dataclasses
from collections.abc import Iterable

from sampan.node.cgroup_details import Details
from sampan.node.machine import Disk, PodPlaces, PodSpace
from sampan.node.pod_use import Space
from sampan.node.runtime.protocol import ContainerState
from sampan.node.thresholds import Amount
from sampan.node.usage import Figures

MIB = 1 << 20
PLENTY = Amount(900 * MIB, 1000 * MIB)


class FakeMachine:
    """What is left is what the test says; every pod's volumes take what it says of them."""

    has_image_disk = False

    def __init__(self) -> None:
        self.left: dict[str, Amount] = {}
        self.image_disk = PLENTY
        self.volumes: dict[str, int] = {}

    def signals(self) -> dict[str, Amount]:
        return self.left

    def disks(self) -> tuple[Disk, Disk]:
        return Disk(PLENTY, PLENTY), Disk(self.image_disk, PLENTY)

    async def around(self, path: str) -> Disk:
        return self.disks()[0]

    def layer(self, container_id: str) -> str:
        return f"/layers/{container_id}"

    def cgroup(self, container_id: str) -> str:
        return ""

    async def details(self, container_ids: Iterable[str]) -> dict[str, Details]:
        numbers = {field.name: 5 for field in dataclasses.fields(Details) if field.name not in ("disks", "pressure")}
        return {name: Details(**numbers) for name in (*container_ids, "")}

    def processes(self, container_id: str) -> int:
        return 1

    async def measure(self, places: PodPlaces) -> PodSpace:
        return PodSpace(volumes={name: Space(self.volumes.get(name, 0)) for name in places.volumes})


class Meter:
    """Memory by the pod's name."""

    def __init__(self) -> None:
        self.memory: dict[str, int] = {}

    def container(self, state: ContainerState) -> Figures:
        return Figures(0.0, 0.0, 0.0, 0.0, 0, self.memory.get(state.pod_name, MIB))

    def node(self) -> None:
        return None
