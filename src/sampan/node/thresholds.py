"""Eviction thresholds: how little of the node's memory, disk and process ids may be left. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-thresholds
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sampan.meta import quantity
from sampan.meta.quantity import Quantity

MEMORY = "memory.available"
NODE_FS, NODE_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGE_FS, IMAGE_INODES = "imagefs.available", "imagefs.inodesFree"
PIDS = "pid.available"
SIGNALS = (MEMORY, NODE_FS, NODE_INODES, IMAGE_FS, IMAGE_INODES, PIDS)

DEFAULT_HARD: Mapping[str, str] = MappingProxyType(
    {MEMORY: "100Mi", NODE_FS: "10%", NODE_INODES: "5%", IMAGE_FS: "15%", IMAGE_INODES: "5%"}
)
RESOURCES: Mapping[str, str] = MappingProxyType(
    {
        MEMORY: "memory",
        NODE_FS: "ephemeral-storage",
        IMAGE_FS: "ephemeral-storage",
        NODE_INODES: "inodes",
        IMAGE_INODES: "inodes",
        PIDS: "pids",
    }
)
CONDITIONS: Mapping[str, str] = MappingProxyType(
    {
        MEMORY: "MemoryPressure",
        NODE_FS: "DiskPressure",
        IMAGE_FS: "DiskPressure",
        NODE_INODES: "DiskPressure",
        IMAGE_INODES: "DiskPressure",
        PIDS: "PIDPressure",
    }
)
_IGNORED = ("0%", "100%")


@dataclass(frozen=True, slots=True)
class Amount:
    """What is left of something, and all there is: bytes, or pieces."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """Met while less than `value` (a quantity, or per cent of all) of the signal is left; acted on after the grace.

    `reclaim` is how much more than that is to be had before it is over. `is_hard`: pods get no time to end.
    """

    signal: str
    value: str
    is_hard: bool = True
    grace_seconds: float = 0.0
    reclaim: str = ""

    def amount(self, capacity: int) -> Quantity:
        """The value, of this capacity."""
        return amount(self.value, capacity)

    def is_met(self, seen: Amount, *, with_reclaim: bool = False) -> bool:
        """Whether less is left; once it was met, it is so until what is to be reclaimed is had too."""
        wanted = self.amount(seen.capacity)
        if with_reclaim and self.reclaim:
            wanted += amount(self.reclaim, seen.capacity)
        return wanted.nanos > quantity.of_int(seen.available).nanos


def amount(value: str, capacity: int) -> Quantity:
    """A quantity as it is written, or per cent of the capacity."""
    if value.endswith("%"):
        (part,) = struct.unpack("f", struct.pack("f", float(value[:-1]) / 100))  # as upstream rounds it
        return quantity.of_int(int(capacity * part), binary=True)
    return quantity.parse(value)


def hard(given: Mapping[str, str] | None, *, is_merged: bool) -> Mapping[str, str]:
    """evictionHard as it counts: the defaults where nothing is said, or, when merged, where a signal isn't named."""
    if given is None:
        return DEFAULT_HARD
    return {**DEFAULT_HARD, **given} if is_merged else given


def all_of(
    hard: Mapping[str, str], soft: Mapping[str, str], graces: Mapping[str, float], reclaims: Mapping[str, str]
) -> tuple[Threshold, ...]:
    """Every threshold that counts; 0% and 100% turn one off."""
    found = [Threshold(signal, value, reclaim=reclaims.get(signal, "")) for signal, value in hard.items()]
    for signal, value in soft.items():
        found.append(Threshold(signal, value, False, graces.get(signal, 0.0), reclaims.get(signal, "")))
    return tuple(threshold for threshold in found if threshold.value not in _IGNORED)


def reserved(hard: Mapping[str, str], signal: str, capacity: int) -> int:
    """How much of a capacity pods don't get, because they would be evicted when they took it."""
    value = hard.get(signal)
    return 0 if value is None or value in _IGNORED else amount(value, capacity).to_int
