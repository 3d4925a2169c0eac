"""What is left on this machine, and what its pods have on its disks: read from the kernel and the file system.

The memory that is left is all but the working set, as upstream has it: what the kernel could give back at once isn't
counted as used.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sampan.node import cgroup_details, disk_usage, thresholds
from sampan.node.cgroup_details import Details
from sampan.node.pod_use import Space
from sampan.node.runtime import host
from sampan.node.thresholds import Amount

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class PodPlaces:
    """Where a pod's files lie: its containers' own file systems and logs by name, its volumes by name, the node's own."""

    layers: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    own: str = ""


@dataclass(frozen=True, slots=True)
class PodSpace:
    """What they take, by the same names."""

    layers: Mapping[str, Space] = field(default_factory=dict)
    logs: Mapping[str, Space] = field(default_factory=dict)
    volumes: Mapping[str, Space] = field(default_factory=dict)
    own: Space = field(default_factory=Space)


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system: bytes and inodes."""

    space: Amount
    inodes: Amount


class Machine(Protocol):
    """Who looks."""

    has_image_disk: bool
    """Whether images lie on a disk of their own."""

    def signals(self) -> Mapping[str, Amount]:
        """What is left, by the signals' names."""
        ...

    def disks(self) -> tuple[Disk, Disk]:
        """The pods' disk and the images'."""
        ...

    async def around(self, path: str) -> Disk | None:
        """The file system that holds the path; None where there is nothing."""
        ...

    def layer(self, container_id: str) -> str:
        """The folder of what a container wrote into its own file system; empty where it can't be told."""
        ...

    def cgroup(self, container_id: str) -> str:
        """The cgroup (relative path) of a running container; empty where it can't be told."""
        ...

    def processes(self, container_id: str) -> int:
        """How many run in the container."""
        ...

    async def details(self, container_ids: Iterable[str]) -> Mapping[str, Details]:
        """All that is told of running containers, by their ids, and under an empty name of the whole machine."""
        ...

    async def measure(self, places: PodPlaces) -> PodSpace:
        """What a pod's files take."""
        ...


class LinuxMachine:
    """As `Machine`. `root` is on the pods' disk, `images` on the images'; cgroups and layers are told by container id."""

    def __init__(
        self, root: Path, images: Path, layer: Callable[[str], str], cgroups: Callable[[], Mapping[str, str]]
    ) -> None:
        self._root, self._images = root, images
        self._layer, self._cgroups = layer, cgroups
        self.has_image_disk = os.stat(_existing(root)).st_dev != os.stat(_existing(images)).st_dev

    def signals(self) -> Mapping[str, Amount]:
        """What is left now; a signal that can't be read is left out."""
        found = {thresholds.MEMORY: memory(), thresholds.PIDS: process_ids()}
        for disk, names in zip(self.disks(), _DISK_SIGNALS, strict=True):
            found |= {names[0]: disk.space, names[1]: disk.inodes}
        return {name: amount for name, amount in found.items() if amount is not None and amount.capacity}

    def disks(self) -> tuple[Disk, Disk]:
        """The pods' disk and the images'; the same one, where there is only one."""
        pods = disk(self._root)
        return pods, disk(self._images) if self.has_image_disk else pods

    async def around(self, path: str) -> Disk | None:
        """Asked in a thread, since a file system may be far away."""
        try:
            return await asyncio.to_thread(disk, Path(path))
        except OSError:
            return None

    def layer(self, container_id: str) -> str:
        """The upper directory."""
        return self._layer(container_id)

    def cgroup(self, container_id: str) -> str:
        """Its relative path, without a slash before it."""
        return self._cgroups().get(container_id, "").strip("/")

    def processes(self, container_id: str) -> int:
        """Those of its cgroup."""
        cgroup = self.cgroup(container_id)
        return len(host.processes(cgroup)) if cgroup else 0

    async def details(self, container_ids: Iterable[str]) -> Mapping[str, Details]:
        """Read in a thread: they are many files."""
        wanted = {name: cgroup for name in container_ids if (cgroup := self.cgroup(name))} | {"": ""}
        return await asyncio.to_thread(_read, wanted)

    async def measure(self, places: PodPlaces) -> PodSpace:
        """Walks them, in a thread."""
        return await asyncio.to_thread(_measure, places)


_DISK_SIGNALS = ((thresholds.NODE_FS, thresholds.NODE_INODES), (thresholds.IMAGE_FS, thresholds.IMAGE_INODES))


def disk(path: Path) -> Disk:
    """The file system that holds the path, as it is to an ordinary user."""
    found = os.statvfs(_existing(path))
    unit = found.f_frsize
    return Disk(Amount(found.f_bavail * unit, found.f_blocks * unit), Amount(found.f_ffree, found.f_files))


def memory() -> Amount | None:
    """All of it, without its working set; None where it can't be read."""
    try:
        lines = (line.split() for line in (_PROC / "meminfo").read_text().splitlines())
        known = {words[0]: int(words[1]) * 1024 for words in lines if len(words) > 1}
        total = known["MemTotal:"]
        working_set = max(total - known["MemFree:"] - known.get("Inactive(file):", 0), 0)
    except (OSError, KeyError, ValueError):
        return None
    return Amount(total - working_set, total)


def process_ids() -> Amount | None:
    """How many more processes and threads there may be; None where it can't be told."""
    try:
        most = min(int((_PROC / "sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))
        running = int((_PROC / "loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return None
    return Amount(max(most - running, 0), most)


def _existing(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _read(cgroups: Mapping[str, str]) -> dict[str, Details]:
    found = {name: cgroup_details.read(cgroup) for name, cgroup in cgroups.items()}
    return {name: details for name, details in found.items() if details is not None}


def _measure(places: PodPlaces) -> PodSpace:
    return PodSpace(_all(places.layers), _all(places.logs), _all(places.volumes), _of(places.own))


def _all(places: Mapping[str, str]) -> dict[str, Space]:
    return {name: _of(path) for name, path in places.items()}


def _of(path: str) -> Space:
    return disk_usage.of(path) if path else Space()
