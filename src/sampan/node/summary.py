"""The whole summary of a node and its pods: besides cpu and memory what they have on disks and sent over networks.

Asking for it has pods' files measured, at most once a minute each.

https://kubernetes.io/docs/reference/instrumentation/node-metrics/#summary-api-source
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.kinds.parts import pod_claims
from sampan.meta import objects, timestamps
from sampan.node import net_use, podspec, stats, thresholds
from sampan.node.agent import Agent
from sampan.node.cgroup_details import Details
from sampan.node.housekeeping import Housekeeping
from sampan.node.machine import Disk, Machine, PodSpace
from sampan.node.net_use import Interface
from sampan.node.pod_use import NOTHING, Space
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import RUNNING
from sampan.node.thresholds import Amount
from sampan.node.volumes.failure import VolumeFailure

log = logging.getLogger(__name__)

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at for one answer: the pods' disk, containers' details by id, and when, as it is told."""

    disk: Disk
    details: Mapping[str, Details]
    at: str


async def whole(agent: Agent, housekeeping: Housekeeping) -> Object:
    """GET /stats/summary."""
    machine = housekeeping.machine
    told = stats.summary(agent)
    spaces = await housekeeping.uses.spaces(agent.records.values())
    records = dict(agent.records)
    running = [state.id for record in records.values() for state in record.states.values() if state.state == RUNNING]
    disk, images = machine.disks()
    seen = Seen(disk, await machine.details(running), timestamps.format(agent.parts.clock.now()))
    pods = []
    for pod in told["pods"]:
        record = records.get(pod["podRef"]["uid"])
        if record is not None:
            space = spaces.get(record.uid, PodSpace())
            pods.append(_pod(pod, record, space, seen))
            if volumes := await _volumes(agent, machine, record, (space, seen.at)):
                pods[-1]["volume"] = volumes
    stored = sum(image.size for image in agent.parts.images.list())
    runtime = {"imageFs": _disk(images, seen.at, Space(stored)), "containerFs": _disk(disk, seen.at, None)}
    return {"node": {**_node(told["node"], machine.signals(), seen), "runtime": runtime}, "pods": pods}


def _node(told: Object, signals: Mapping[str, Amount], seen: Seen) -> Object:
    found = {**told, "network": _network("self", seen.at), "fs": _disk(seen.disk, seen.at, None)}
    if (ids := signals.get(thresholds.PIDS)) is not None:
        found["rlimit"] = {"time": seen.at, "maxpid": ids.capacity, "curproc": ids.capacity - ids.available}
    if "memory" in told:
        memory = signals.get(thresholds.MEMORY)
        left = {"availableBytes": memory.available} if memory is not None else {}
        found["memory"] = {**told["memory"], **left, **_memory(seen.details.get(""))}
    return found


def _pod(told: Object, record: PodRecord, space: PodSpace, seen: Seen) -> Object:
    running = {state.name: state for state in record.states.values() if state.state == RUNNING}
    details = {name: seen.details[state.id] for name, state in running.items() if state.id in seen.details}
    containers = []
    for container in told["containers"]:
        name = container["name"]
        memory = {**container["memory"], **_memory(details.get(name))}
        disks = {
            kind: _disk(seen.disk, seen.at, of.get(name))
            for kind, of in (("rootfs", space.layers), ("logs", space.logs))
        }
        containers.append({**container, "memory": memory, **disks})
    kept = sum((*space.layers.values(), *space.logs.values(), *space.volumes.values()), space.own)
    found = {**told, "containers": containers, "ephemeral-storage": _disk(seen.disk, seen.at, kept)}
    if details:
        found["process_stats"] = {"process_count": sum(each.processes for each in details.values())}
    if running and not podspec.is_host_network(record.pod):
        found["network"] = _network(next(iter(running.values())).pid, seen.at)
    return found


def _memory(details: Details | None) -> Object:
    if details is None:
        return {}
    return {"rssBytes": details.rss, "pageFaults": details.faults, "majorPageFaults": details.major_faults}


async def claimed(agent: Agent, machine: Machine) -> list[Object]:
    """The volumes of claims that pods here use, each claim once, with what they hold."""
    at = timestamps.format(agent.parts.clock.now())
    found = {}
    for record in list(agent.records.values()):
        spec = record.pod["spec"]
        if any(pod_claims.name_of(record.pod, volume) for volume in spec.get("volumes") or ()):
            for volume in await _volumes(agent, machine, record, (PodSpace(), at)):
                if "pvcRef" in volume:
                    found[volume["pvcRef"]["namespace"], volume["pvcRef"]["name"]] = volume
    return list(found.values())


async def _volumes(agent: Agent, machine: Machine, record: PodRecord, seen: tuple[PodSpace, str]) -> list[Object]:
    """Of each volume that has files: what was measured, what its driver says, else what its file system says."""
    space, at = seen
    try:
        told = await agent.parts.csi.stats(record.uid) if agent.parts.csi is not None else {}
    except VolumeFailure as error:
        log.info("volumes of pod %s: %s", record.uid, error)
        told = {}
    claims = {
        volume["name"]: pod_claims.name_of(record.pod, volume) for volume in record.pod["spec"].get("volumes") or ()
    }
    found = []
    for name, path in sorted((record.volumes or {}).items()):
        if name in told:
            figures: Object = {"time": at, **told[name]}
        elif name in space.volumes:
            figures = _disk(await machine.around(path), at, space.volumes[name])
        elif claims.get(name) is not None:
            figures = _disk(await machine.around(path), at, None)
        else:
            continue
        named: Object = {**figures, "name": name}
        if claim := claims.get(name):
            named["pvcRef"] = {"name": claim, "namespace": objects.namespace(record.pod)}
        found.append(named)
    return found


def _disk(disk: Disk | None, at: str, used: Space | None) -> Object:
    """A file system, and what of it is used: by somebody, or by all."""
    if disk is None:
        return {"time": at, "usedBytes": (used or NOTHING).used_bytes}
    space, inodes = disk.space, disk.inodes
    return {
        "time": at,
        "availableBytes": space.available,
        "capacityBytes": space.capacity,
        "usedBytes": used.used_bytes if used is not None else space.capacity - space.available,
        "inodesFree": inodes.available,
        "inodes": inodes.capacity,
        "inodesUsed": used.inodes if used is not None else inodes.capacity - inodes.available,
    }


def _network(pid: int | str, at: str) -> Object:
    interfaces = [_interface(found) for found in net_use.of_process(pid)]
    first: Mapping[str, Any] = next((each for each in interfaces if each["name"] == "eth0"), {})
    return {"time": at, **first, "interfaces": interfaces}


def _interface(found: Interface) -> Object:
    return {
        "name": found.name,
        "rxBytes": found.received[0],
        "rxErrors": found.received[2],
        "txBytes": found.sent[0],
        "txErrors": found.sent[2],
    }
