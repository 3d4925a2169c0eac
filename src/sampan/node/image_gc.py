"""Image garbage collection: which images may go when the disk fills, or when nobody used them for long (pure), and doing it.

Never an image that a pod on the node uses, as a container's or a volume's, and never a pinned one: what was loaded or
imported by hand can't be had again from anywhere. The least recently used go first.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sampan.node import kubelet_config, podspec
from sampan.node.agent import Agent
from sampan.node.images.model import Image, ImageError
from sampan.node.machine import Machine
from sampan.node.observed import Emit
from sampan.node.runtime.protocol import RuntimeFailure
from sampan.node.thresholds import Amount

log = logging.getLogger(__name__)

PERIOD_SECONDS = 300.0
_WHOLE = 100

Remove = Callable[[str], Awaitable[bool]]
Forget = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as it was noticed: since when it is there, and when it was in use last (unix seconds; 0: never seen so)."""

    image: Image
    found_at: float
    used_at: float = 0.0


def notice(known: Mapping[str, Seen], images: Iterable[Image], used: Collection[str], now: float) -> dict[str, Seen]:
    """What is known once these images, by id, are there, and those of them are in use."""
    found = {}
    for image in images:
        seen = known.get(image.id) or Seen(image, now)
        found[image.id] = replace(seen, image=image, used_at=now if image.id in used else seen.used_at)
    return found


def unused(known: Iterable[Seen], used: Collection[str], now: float, minimum_age: float = 0.0) -> list[Seen]:
    """Those that may go, the one that was used longest ago first."""
    free = (seen for seen in known if seen.image.id not in used and not seen.image.is_pinned)
    old_enough = [seen for seen in free if now - seen.found_at >= minimum_age]
    return sorted(old_enough, key=lambda seen: (seen.used_at, seen.found_at, seen.image.id))


def excess_bytes(disk: Amount, high_percent: int, low_percent: int) -> int:
    """How much has to go so that the disk is as empty as it should be; 0 while it is not too full."""
    used_percent = _WHOLE - disk.available * _WHOLE // disk.capacity
    if used_percent < high_percent or high_percent >= _WHOLE:
        return 0
    return max(disk.capacity * (_WHOLE - low_percent) // _WHOLE - disk.available, 0)


class ImageCollector:
    """Of one node. `remove` deletes an image by id, unless something is made of it; `forget` what builds keep."""

    def __init__(self, agent: Agent, machine: Machine, remove: Remove, forget: Forget) -> None:
        self._agent, self._machine, self._remove, self._forget = agent, machine, remove, forget
        self._known: dict[str, Seen] = {}
        self._began = agent.parts.clock.now()
        self._high: int | None = None
        self._failures = 0
        self.counts: Counter[str] = Counter()
        """Images that were removed, by the reason."""

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.collect()
            except (OSError, ImageError, RuntimeFailure) as error:
                log.warning("image garbage collection: %s", error)
            except Exception:
                log.exception("image garbage collection")
            await self._agent.parts.clock.pulse(PERIOD_SECONDS)

    async def collect(self) -> None:
        """One round: images that are too old, then what the disk asks for."""
        kubelet, now = self._agent.settings.kubelet, self._agent.parts.clock.now()
        used = self._look(now)
        oldest = kubelet.image_maximum_gc_age
        if oldest and now - self._began > oldest:
            old = [s for s in unused(self._known.values(), used, now) if now - max(s.used_at, s.found_at) > oldest]
            await self._free(old, "age")
        disk = self._machine.disks()[1].space
        if not disk.capacity:
            self._emit("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
            return
        wanted = excess_bytes(disk, self._high_percent(disk), kubelet.image_gc_low_threshold_percent)
        if wanted:
            await self._free_bytes(wanted, unused(self._known.values(), used, now, kubelet.image_minimum_gc_age))
        else:
            self._failures = 0

    async def remove_unused(self) -> None:
        """All that may go, since the disk is short."""
        now = self._agent.parts.clock.now()
        used = self._look(now)
        await self._free(unused(self._known.values(), used, now), "space")
        await self._forget_builds()

    def _look(self, now: float) -> set[str]:
        images = self._agent.parts.images.list()
        used = self._used(images)
        self._known = notice(self._known, images, used, now)
        return used

    def _used(self, images: Iterable[Image]) -> set[str]:
        """The ids of the images of all pods here: what their containers are made of, and what they name."""
        states = [state for record in self._agent.records.values() for state in record.states.values()]
        made_of = {name for state in states for name in (state.image_id, state.image_ref)}
        found = {i.id for i in images if not made_of.isdisjoint((i.id, *i.repo_tags, *i.repo_digests))}
        for ref in {ref for record in self._agent.records.values() for ref in podspec.image_names(record.pod)}:
            try:
                image = self._agent.parts.images.resolve(ref)
            except ImageError:
                continue
            if image is not None:
                found.add(image.id)
        return found

    async def _free_bytes(self, wanted: int, candidates: list[Seen]) -> None:
        freed = await self._free(candidates, "space", wanted)
        if freed < wanted:
            freed += await self._forget_builds()
        if freed >= wanted:
            self._failures = 0
            return
        self._failures += 1
        text = f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, "
        text += f"but only found {freed} bytes eligible to free."
        self._emit("FreeDiskSpaceFailed", text)
        if self._failures > 1:
            self._emit("ImageGCFailed", text)

    async def _free(self, candidates: list[Seen], reason: str, wanted: int | None = None) -> int:
        """Removes them until so many bytes are freed."""
        freed = 0
        for seen in candidates:
            if wanted is not None and freed >= wanted:
                break
            try:
                is_gone = await self._remove(seen.image.id)
            except (ImageError, OSError, RuntimeFailure) as error:
                log.warning("removing image %s: %s", seen.image.reference, error)
                continue
            if is_gone:
                log.info("removed image %s: %d bytes", seen.image.reference, seen.image.size)
                self.counts[reason] += 1
                freed += seen.image.size
            self._known.pop(seen.image.id, None)
        return freed

    async def _forget_builds(self) -> int:
        """When removing images did not suffice: what builds keep can be made again."""
        try:
            return await self._forget()
        except (ImageError, OSError) as error:
            log.warning("removing what image builds keep: %s", error)
            return 0

    def _high_percent(self, disk: Amount) -> int:
        """As configured. The default isn't applied when the disk was past it already as the node started."""
        configured = self._agent.settings.kubelet.image_gc_high_threshold_percent
        if configured is not None:
            return configured
        if self._high is None:
            high, low = (
                kubelet_config.IMAGE_GC_HIGH_PERCENT,
                self._agent.settings.kubelet.image_gc_low_threshold_percent,
            )
            self._high = _WHOLE if excess_bytes(disk, high, low) else high
        return self._high

    def _emit(self, reason: str, message: str) -> None:
        log.warning("%s: %s", reason, message)
        self._agent.recorder.emit(self._agent.heartbeat.node(), Emit("Warning", reason, message))
