"""What upstream's kubelet tells of itself at /metrics, as far as it is true of this one.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

import os
import resource
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sampan.meta import objects
from sampan.node.agent import Agent, Object
from sampan.node.exposition import COUNTER, GAUGE, Exposition
from sampan.node.housekeeping import Housekeeping
from sampan.node.node_object import KUBELET_VERSION
from sampan.node.snapshot import TERMINAL

_BUILD = ("kubernetes_build_info", GAUGE, "A metric with a constant '1' value labeled by version.")
_NODE = ("kubelet_node_name", GAUGE, "The node's name. The count is always 1.")
_PODS = ("kubelet_running_pods", GAUGE, "Number of pods that have a running pod sandbox")
_CONTAINERS = ("kubelet_running_containers", GAUGE, "Number of containers currently running")
_ACTIVE = (
    "kubelet_active_pods",
    GAUGE,
    "The number of pods the kubelet considers active and which are being considered when admitting new pods.",
)
_DESIRED = ("kubelet_desired_pods", GAUGE, "The number of pods the kubelet is being instructed to run.")
_EVICTIONS = ("kubelet_evictions", COUNTER, "Cumulative number of pod evictions by eviction signal")
_IMAGES = ("kubelet_image_garbage_collected_total", COUNTER, "Total number of images garbage collected by the kubelet")
_PROC = Path("/proc/self")


_VOLUMES = (
    ("availableBytes", "available_bytes", "Number of available bytes in the volume"),
    ("capacityBytes", "capacity_bytes", "Capacity in bytes of the volume"),
    ("usedBytes", "used_bytes", "Number of used bytes in the volume"),
    ("inodesFree", "inodes_free", "Number of free inodes in the volume"),
    ("inodes", "inodes", "Maximum number of inodes in the volume"),
    ("inodesUsed", "inodes_used", "Number of used inodes in the volume"),
)


def metrics(agent: Agent, housekeeping: Housekeeping | None, volumes: Iterable[Object] = ()) -> bytes:
    """GET /metrics; `volumes` are those of claims, as the summary tells them."""
    found = Exposition()
    version = {"git_version": KUBELET_VERSION, "major": "1", "minor": KUBELET_VERSION.split(".")[1]}
    found.add(_BUILD, 1, {**version, "platform": f"linux/{os.uname().machine}"})
    found.add(_NODE, 1, {"node": agent.settings.node})
    records = list(agent.records.values())
    found.add(_PODS, sum(bool(record.netns) or record.volumes is not None for record in records))
    states = Counter(state.state for record in records for state in record.states.values())
    for state in ("created", "exited", "running"):
        found.add(_CONTAINERS, states[state], {"container_state": state})
    active = [r for r in records if r.rejected is None and (r.pod.get("status") or {}).get("phase") not in TERMINAL]
    found.add(_ACTIVE, len(active), {"static": ""})
    found.add(_DESIRED, sum(not objects.is_deleting(record.pod) for record in records), {"static": ""})
    if housekeeping is not None:
        for signal, count in sorted(housekeeping.evictions.counts.items()):
            found.add(_EVICTIONS, count, {"eviction_signal": signal})
        for reason, count in sorted(housekeeping.images.counts.items()):
            found.add(_IMAGES, count, {"reason": reason})
    for volume in volumes:
        claim = volume["pvcRef"]
        labels = {"namespace": claim["namespace"], "persistentvolumeclaim": claim["name"]}
        for field, name, about in _VOLUMES:
            if field in volume:
                found.add((f"kubelet_volume_stats_{name}", GAUGE, about), volume[field], labels)
    agent.parts.dns.tell(found)
    agent.networking.tell(found)
    _process(found)
    return found.text()


def _process(found: Exposition) -> None:
    """The process's own figures; what can't be read is left out."""
    times = os.times()
    found.add(
        ("process_cpu_seconds_total", COUNTER, "Total user and system CPU time spent in seconds."),
        times.user + times.system,
    )
    try:
        virtual, resident = (_PROC / "statm").read_text().split()[:2]
        files = len(os.listdir(_PROC / "fd"))
    except OSError:
        return
    page = resource.getpagesize()
    found.add(("process_virtual_memory_bytes", GAUGE, "Virtual memory size in bytes."), int(virtual) * page)
    found.add(("process_resident_memory_bytes", GAUGE, "Resident memory size in bytes."), int(resident) * page)
    found.add(("process_open_fds", GAUGE, "Number of open file descriptors."), files)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found.add(("process_max_fds", GAUGE, "Maximum number of open file descriptors."), limit)
