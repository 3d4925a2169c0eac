"""What upstream's kubelet tells at /metrics/cadvisor: each container, each pod and the whole machine, from their cgroups.

Read when asked. Names and labels are cAdvisor's; a figure that the kernel here doesn't give is left out.

https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.meta import objects
from sampan.node import cgroup_details, net_use, podspec
from sampan.node.agent import Agent, Object
from sampan.node.cgroup_details import Details
from sampan.node.exposition import COUNTER, GAUGE, Exposition
from sampan.node.facts import Facts
from sampan.node.machine import Machine, PodSpace
from sampan.node.runtime.protocol import RUNNING, ContainerState

Labels = Mapping[str, str]
Family = tuple[str, str, str]

_NO_LABELS: Labels = dict.fromkeys(("container", "image", "name", "namespace", "pod"), "")
_FIGURES: tuple[tuple[str, str, str, str], ...] = (
    ("cpu_system", "container_cpu_system_seconds_total", COUNTER, "Cumulative system cpu time consumed in seconds."),
    ("cpu_user", "container_cpu_user_seconds_total", COUNTER, "Cumulative user cpu time consumed in seconds."),
    ("memory", "container_memory_usage_bytes", GAUGE, "Current memory usage in bytes, including all memory."),
    ("memory_most", "container_memory_max_usage_bytes", GAUGE, "Maximum memory usage recorded in bytes."),
    ("memory_failures", "container_memory_failcnt", COUNTER, "Number of memory usage hits limits."),
    ("working_set", "container_memory_working_set_bytes", GAUGE, "Current working set in bytes."),
    ("rss", "container_memory_rss", GAUGE, "Size of RSS in bytes."),
    ("cache", "container_memory_cache", GAUGE, "Number of bytes of page cache memory."),
    ("mapped", "container_memory_mapped_file", GAUGE, "Size of memory mapped files in bytes."),
    ("swap", "container_memory_swap", GAUGE, "Container swap usage in bytes."),
    ("active_file", "container_memory_total_active_file_bytes", GAUGE, "Current total active file in bytes."),
    ("inactive_file", "container_memory_total_inactive_file_bytes", GAUGE, "Current total inactive file in bytes."),
    ("out_of_memory", "container_oom_events_total", COUNTER, "Count of out of memory events for the container."),
    ("processes", "container_processes", GAUGE, "Number of processes running inside the container."),
    ("threads", "container_threads", GAUGE, "Number of threads running inside the container."),
    ("threads_limit", "container_threads_max", GAUGE, "Maximum number of threads allowed inside the container."),
    ("shares", "container_spec_cpu_shares", GAUGE, "CPU share of the container."),
    ("period", "container_spec_cpu_period", GAUGE, "CPU period of the container."),
    ("memory_limit", "container_spec_memory_limit_bytes", GAUGE, "Memory limit for the container."),
)
_THROTTLING: tuple[tuple[str, str, str, str], ...] = (
    ("quota", "container_spec_cpu_quota", GAUGE, "CPU quota of the container."),
    ("periods", "container_cpu_cfs_periods_total", COUNTER, "Number of elapsed enforcement period intervals."),
    (
        "throttled_periods",
        "container_cpu_cfs_throttled_periods_total",
        COUNTER,
        "Number of throttled period intervals.",
    ),
    (
        "throttled",
        "container_cpu_cfs_throttled_seconds_total",
        COUNTER,
        "Total time duration the container was throttled.",
    ),
)
_CPU = ("container_cpu_usage_seconds_total", COUNTER, "Cumulative cpu time consumed in seconds.")
_FAULTS = ("container_memory_failures_total", COUNTER, "Cumulative count of memory allocation failures.")
_DISKS = {
    "rbytes": ("container_fs_reads_bytes_total", COUNTER, "Cumulative count of bytes read"),
    "wbytes": ("container_fs_writes_bytes_total", COUNTER, "Cumulative count of bytes written"),
    "rios": ("container_fs_reads_total", COUNTER, "Cumulative count of reads completed"),
    "wios": ("container_fs_writes_total", COUNTER, "Cumulative count of writes completed"),
}
_FS_USED = ("container_fs_usage_bytes", GAUGE, "Number of bytes that are consumed by the container on this filesystem.")
_FS_LIMIT = (
    "container_fs_limit_bytes",
    GAUGE,
    "Number of bytes that can be consumed by the container on this filesystem.",
)
_FS_INODES = ("container_fs_inodes_total", GAUGE, "Number of Inodes")
_FS_INODES_FREE = ("container_fs_inodes_free", GAUGE, "Number of available Inodes")
_NETWORK = ("bytes", "packets", "errors", "packets_dropped")
_START = ("container_start_time_seconds", GAUGE, "Start time of the container since unix epoch in seconds.")
_LAST_SEEN = ("container_last_seen", GAUGE, "Last time a container was seen by the exporter")
_SCRAPE_ERROR = (
    "container_scrape_error", GAUGE, "1 if there was an error while getting container metrics, 0 otherwise"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scraped:
    """A pod whose figures are wanted: its object, its running containers with their cgroups, and its disk use."""

    pod: Object
    containers: tuple[tuple[ContainerState, str], ...]
    space: PodSpace


def chosen(agent: Agent, machine: Machine, spaces: Mapping[str, PodSpace]) -> list[Scraped]:
    """The pods that have running containers, by namespace and name; `spaces` is what was measured, by uid."""
    found = []
    for record in sorted(agent.records.values(), key=lambda r: objects.key(r.pod)):
        running = sorted((s for s in record.states.values() if s.state == RUNNING), key=lambda s: s.name)
        placed = tuple((state, cgroup) for state in running if (cgroup := machine.cgroup(state.id)))
        if placed:
            found.append(Scraped(record.pod, placed, spaces.get(record.uid, PodSpace())))
    return found


def metrics(pods: Iterable[Scraped], machine: Machine, facts: Facts, now: float) -> bytes:
    """GET /metrics/cadvisor. Reads many files."""
    found = Exposition()
    _machine(found, machine, facts)
    for pod in pods:
        _pod(found, pod, now)
        for state, cgroup in pod.containers:
            details = cgroup_details.read(cgroup)
            if details is None:
                continue
            labels = _of_container(pod, state, cgroup)
            _figures(found, details, labels, now)
            found.add(_START, state.started_at, labels, now)
            if state.name in pod.space.layers:
                found.add(_FS_USED, pod.space.layers[state.name].used_bytes, {**labels, "device": ""}, now)
    found.add(_SCRAPE_ERROR, 0)
    return found.text()


def _machine(found: Exposition, machine: Machine, facts: Facts) -> None:
    ids = {"boot_id": facts.boot_id, "machine_id": facts.machine_id, "system_uuid": facts.machine_id}
    found.add(("machine_cpu_cores", GAUGE, "Number of logical CPU cores."), facts.cpus, ids)
    found.add(("machine_memory_bytes", GAUGE, "Amount of memory installed on the machine."), facts.memory_bytes, ids)
    versions = {"cadvisorRevision": "", "cadvisorVersion": "", "dockerVersion": ""}
    shown = {**versions, "kernelVersion": facts.kernel, "osVersion": facts.os_image}
    about = "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision."
    found.add(("cadvisor_version_info", GAUGE, about), 1, shown)
    labels = {**_NO_LABELS, "id": "/"}
    details = cgroup_details.read("")
    if details is not None:
        _figures(found, details, labels, None)
    disk = machine.disks()[0]
    where = {**labels, "device": ""}
    found.add(_FS_USED, disk.space.capacity - disk.space.available, where)
    found.add(_FS_LIMIT, disk.space.capacity, where)
    found.add(_FS_INODES, disk.inodes.capacity, where)
    found.add(_FS_INODES_FREE, disk.inodes.available, where)
    _network(found, "self", labels, None)


def _pod(found: Exposition, pod: Scraped, now: float) -> None:
    """The cgroup that all its containers are in, and its network."""
    state, cgroup = pod.containers[0]
    parent = os.path.dirname(cgroup)
    where = {"namespace": objects.namespace(pod.pod), "pod": objects.name(pod.pod)}
    labels = {**_NO_LABELS, "id": f"/{parent}", **where}
    details = cgroup_details.read(parent)
    if details is not None:
        _figures(found, details, labels, now)
    if not podspec.is_host_network(pod.pod):
        _network(found, state.pid, labels, now)


def _of_container(pod: Scraped, state: ContainerState, cgroup: str) -> Labels:
    return {
        "container": state.name,
        "id": f"/{cgroup}",
        "image": state.image_ref,
        "name": state.id,
        "namespace": objects.namespace(pod.pod),
        "pod": objects.name(pod.pod),
    }


def _figures(found: Exposition, details: Details, labels: Labels, now: float | None) -> None:
    found.add(_CPU, details.cpu, {**labels, "cpu": "total"}, now)
    for field, *family in (*_FIGURES, *(_THROTTLING if details.quota else ())):
        found.add(_family(family), getattr(details, field), labels, now)
    for kind, count in (("pgfault", details.faults), ("pgmajfault", details.major_faults)):
        found.add(_FAULTS, count, {**labels, "failure_type": kind, "scope": "hierarchy"}, now)
    for (device, kind), number in sorted(details.disks.items()):
        found.add(_DISKS[kind], number, {**labels, "device": _device(device)}, now)
    for (resource, kind), seconds in sorted(details.pressure.items()):
        word = "waiting" if kind == "some" else "stalled"
        name = f"container_pressure_{resource}_{word}_seconds_total"
        about = "have waited" if kind == "some" else "no tasks could make progress"
        found.add((name, COUNTER, f"Total time duration {about} due to {resource} congestion."), seconds, labels, now)
    if now is not None:
        found.add(_LAST_SEEN, int(now), labels, now)


def _family(parts: list[str]) -> Family:
    return parts[0], parts[1], parts[2]


def _network(found: Exposition, pid: int | str, labels: Labels, now: float | None) -> None:
    for interface in net_use.of_process(pid):
        for way, numbers in (("receive", interface.received), ("transmit", interface.sent)):
            for what, number in _named(numbers):
                name = f"container_network_{way}_{what}_total"
                about = (
                    f"Cumulative count of {what.replace('_', ' ')} {'received' if way == 'receive' else 'transmitted'}"
                )
                found.add((name, COUNTER, about), number, {**labels, "interface": interface.name}, now)


def _named(numbers: tuple[int, int, int, int]) -> Iterator[tuple[str, int]]:
    return zip(_NETWORK, numbers, strict=True)


def _device(numbers: str) -> str:
    """/dev/sda of 8:0."""
    try:
        return "/dev/" + Path(f"/sys/dev/block/{numbers}").resolve(strict=True).name
    except OSError:
        return numbers
