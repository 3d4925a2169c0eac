"""Measuring what pods use: memory and processes from their cgroups, disk by walking what is theirs, off the loop."""

from collections.abc import Iterable

from sampan.node.machine import Machine, PodPlaces, PodSpace
from sampan.node.parts import Parts
from sampan.node.pod_use import NOTHING, ContainerUse, PodUse, local_volumes
from sampan.node.podfiles import PodFiles
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import RUNNING, ContainerState

FRESH_SECONDS = 60.0
"""For so long what was measured for a report is told again."""


class PodUses:
    """Of one node's pods."""

    def __init__(self, parts: Parts, machine: Machine, files: PodFiles) -> None:
        self._parts, self._machine, self._files = parts, machine, files
        self._known: dict[str, tuple[float, PodSpace]] = {}

    async def with_disk(self, records: Iterable[PodRecord]) -> list[PodUse]:
        """Everything, their files on the disk included."""
        chosen = [(record, self.places(record)) for record in records]
        spaces = [await self._machine.measure(places) for _, places in chosen]
        return [self._use(record, space) for (record, _), space in zip(chosen, spaces, strict=True)]

    async def spaces(self, records: Iterable[PodRecord]) -> dict[str, PodSpace]:
        """What was measured of each within the last minute, by uid; what was not is measured."""
        now, found = self._parts.clock.monotonic(), {}
        for record in list(records):
            at, space = self._known.get(record.uid, (float("-inf"), None))
            if space is None or now - at >= FRESH_SECONDS:
                space = await self._machine.measure(self.places(record))
                at = now
            found[record.uid] = (at, space)
        self._known = found
        return {uid: space for uid, (_, space) in found.items()}

    def without_disk(self, records: Iterable[PodRecord]) -> list[PodUse]:
        """Memory and processes."""
        return [self._use(record, PodSpace()) for record in records]

    def places(self, record: PodRecord) -> PodPlaces:
        """Where the pod's files lie now. Of a container that was restarted, what its last attempt wrote counts."""
        newest = _newest(record)
        logs = self._files.logs(record.pod)
        volumes = record.volumes or {}
        return PodPlaces(
            layers={name: self._machine.layer(state.id) for name, state in newest.items()},
            logs={name: str(logs / name) for name in newest},
            volumes={name: volumes[name] for name in local_volumes(record.pod) if name in volumes},
            own=str(self._files.pod(record.uid)),
        )

    def _use(self, record: PodRecord, space: PodSpace) -> PodUse:
        containers = {
            name: ContainerUse(
                memory=self._memory(state),
                processes=self._machine.processes(state.id) if state.state == RUNNING else 0,
                layer=space.layers.get(name, NOTHING),
                logs=space.logs.get(name, NOTHING),
            )
            for name, state in _newest(record).items()
        }
        return PodUse(record.pod, containers, space.volumes, space.own)

    def _memory(self, state: ContainerState) -> int | None:
        meter = self._parts.meter
        figures = meter.container(state) if meter is not None and state.state == RUNNING else None
        return figures.working_set if figures is not None else None


def _newest(record: PodRecord) -> dict[str, ContainerState]:
    """The last attempt of each container."""
    return {state.name: state for state in sorted(record.states.values(), key=lambda s: s.attempt)}
