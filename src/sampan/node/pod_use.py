"""What pods use of memory, processes and the node's disk: the figures from which it is decided who has to go. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Object = Mapping[str, Any]

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Space:
    """What files take of a disk."""

    used_bytes: int = 0
    inodes: int = 0

    def __add__(self, other: "Space") -> "Space":
        return Space(self.used_bytes + other.used_bytes, self.inodes + other.inodes)


NOTHING = Space()


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """One container: its working set in bytes (None: not measured), its processes, what it wrote and what it said."""

    memory: int | None = None
    processes: int = 0
    layer: Space = NOTHING
    logs: Space = NOTHING


@dataclass(frozen=True, slots=True)
class PodUse:
    """A pod with what it uses: by its containers' names, and by its volumes' names where they lie on the node's disk.

    `own` is what the node keeps for it besides: hosts, resolv.conf, last words.
    """

    pod: Object
    containers: Mapping[str, ContainerUse] = field(default_factory=lambda: _NONE)
    volumes: Mapping[str, Space] = field(default_factory=lambda: _NONE)
    own: Space = NOTHING

    @property
    def memory(self) -> int | None:
        """The working set of all containers; None where none was measured."""
        known = [use.memory for use in self.containers.values() if use.memory is not None]
        return sum(known) if known else None

    @property
    def processes(self) -> int:
        """Those of all containers."""
        return sum(use.processes for use in self.containers.values())

    @property
    def layers(self) -> Space:
        """What the containers wrote into their own file systems."""
        return sum((use.layer for use in self.containers.values()), NOTHING)

    @property
    def kept(self) -> Space:
        """What is on the node's disk for it besides its containers' own file systems: logs, volumes, its own files."""
        logs = sum((use.logs for use in self.containers.values()), NOTHING)
        return sum(self.volumes.values(), logs) + self.own


def local_volumes(pod: Object) -> tuple[str, ...]:
    """The names of the volumes whose files lie on the node's disk and go with the pod."""
    return tuple(volume["name"] for volume in pod["spec"].get("volumes") or () if _is_local(volume))


def _is_local(volume: Object) -> bool:
    if "emptyDir" in volume:
        return (volume["emptyDir"] or {}).get("medium") != "Memory"
    return "configMap" in volume or "downwardAPI" in volume
