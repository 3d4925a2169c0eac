"""The Node object: what this machine offers, and whether it is able.

https://kubernetes.io/docs/reference/node/node-status/
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.kinds.parts import local_volumes, resource_names
from sampan.meta import quantity, timestamps
from sampan.node import thresholds
from sampan.node.facts import Facts
from sampan.node.images.model import Image
from sampan.node.parts import AgentSettings
from sampan.node.runtime.protocol import Features

Object = dict[str, Any]
Runtime = tuple[str, Mapping[str, Features]]
"""Its version, and what it can do here under each handler's name."""

KUBELET_VERSION = "v1.36.0"
SHOWN_IMAGES = 50
DECLARED = ("RestartAllContainersOnContainerExits",)
"""What not every node of this version can do, in order."""

PRESSURES = {
    "MemoryPressure": (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available", "NodeHasSufficientMemory"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "NodeHasInsufficientMemory"),
    ),
    "DiskPressure": (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure", "NodeHasNoDiskPressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure", "NodeHasDiskPressure"),
    ),
    "PIDPressure": (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available", "NodeHasSufficientPID"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available", "NodeHasInsufficientPID"),
    ),
}
"""Reason, message and event of each condition: while it is false, while it is true."""


def node(settings: AgentSettings, facts: Facts) -> Object:
    """A new Node, without status."""
    labels = {
        "beta.kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": facts.operating_system,
        "kubernetes.io/arch": facts.architecture,
        "kubernetes.io/hostname": settings.node,
        "kubernetes.io/os": facts.operating_system,
        **settings.labels,
    }
    spec: Object = {}
    if settings.pod_cidr:
        spec = {"podCIDR": settings.pod_cidr, "podCIDRs": [c for c in (settings.pod_cidr, settings.pod_cidr6) if c]}
    if settings.kubelet.register_with_taints:
        spec["taints"] = list(settings.kubelet.register_with_taints)
    annotations = {local_volumes.FOLDER: str(settings.local_volumes.absolute())}
    metadata = {"name": settings.node, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def status(settings: AgentSettings, facts: Facts, runtime: Runtime, images: Iterable[Image]) -> Object:
    """Everything of the status but the conditions."""
    return {
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in settings.internal_ips),
            {"type": "Hostname", "address": settings.node},
        ],
        "allocatable": allocatable(settings, facts),
        "capacity": capacity(settings, facts),
        "declaredFeatures": list(DECLARED),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": settings.port}},
        "images": [_image(image) for image in sorted(images, key=lambda i: -i.size)[:SHOWN_IMAGES]],
        "nodeInfo": {
            "architecture": facts.architecture,
            "bootID": facts.boot_id,
            "containerRuntimeVersion": runtime[0],
            "kernelVersion": facts.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": facts.machine_id,
            "operatingSystem": facts.operating_system,
            "osImage": facts.os_image,
            "systemUUID": facts.machine_id,
        },
        "features": {"supplementalGroupsPolicy": True},
        "runtimeHandlers": [_handler(name, features) for name, features in sorted(runtime[1].items())],
    }


def allocatable(settings: AgentSettings, facts: Facts) -> dict[str, str]:
    """What pods may use: all there is but what is kept for the system and for the node's own programs."""
    found = capacity(settings, facts)
    huge = sum(amount for _, amount in facts.huge_pages)
    if huge:
        found["memory"] = f"{max(facts.memory_bytes - huge, 0) // 1024}Ki"
    for reserved in (settings.kubelet.system_reserved, settings.kubelet.kube_reserved):
        for name, amount in reserved.items():
            if name in found:
                left = quantity.parse(found[name]) - quantity.parse(amount)
                found[name] = str(max(left, quantity.ZERO))
    return found if settings.is_simulated else {**found, **_less_what_is_evicted_for(settings, found, facts)}


def extended(status: Mapping[str, Any], own: Iterable[str]) -> dict[str, str | None]:
    """What others say that the node has, such as `example.com/dongle`, and that pods may use therefore: all of it.

    None for what may be used no more, since it is not there. `own` are those that the node itself counts.
    """
    capacity, usable = status.get("capacity") or {}, status.get("allocatable") or {}
    counted = set(own)
    names = [name for name in {**capacity, **usable} if resource_names.is_extended(name) and name not in counted]
    return {name: capacity.get(name) for name in sorted(names)}


def _less_what_is_evicted_for(settings: AgentSettings, found: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """Memory and disk without what must be left of them, lest pods be evicted."""
    kubelet = settings.kubelet
    hard = thresholds.hard(kubelet.eviction_hard, is_merged=kubelet.merge_default_eviction_settings)
    kept = {
        "memory": thresholds.reserved(hard, thresholds.MEMORY, facts.memory_bytes),
        "ephemeral-storage": thresholds.reserved(hard, thresholds.NODE_FS, facts.disk_bytes),
    }
    left = {name: quantity.parse(found[name]).to_int - amount for name, amount in kept.items()}
    return {name: str(quantity.of_int(max(amount, 0), binary=True)) for name, amount in left.items()}


def capacity(settings: AgentSettings, facts: Facts) -> dict[str, str]:
    """All that the machine has."""
    return {
        "cpu": str(facts.cpus),
        "ephemeral-storage": f"{facts.disk_bytes // 1024}Ki",
        **{f"hugepages-{size}": str(quantity.of_int(amount, binary=True)) for size, amount in _huge_pages(facts)},
        "memory": f"{facts.memory_bytes // 1024}Ki",
        "pods": str(settings.kubelet.max_pods),
    }


@dataclass(frozen=True, slots=True)
class State:
    """What the node is under pressure for, and why it isn't Ready, if it isn't."""

    pressures: Collection[str] = ()
    unready: str = ""


def conditions(old: Iterable[Object], now: float, state: State) -> list[Object]:
    """A node that is seen alive now; a condition's transition time stays while its status does."""
    before = {condition.get("type", ""): condition for condition in old}
    wanted = [
        (type, str(type in state.pressures), *words[type in state.pressures][:2]) for type, words in PRESSURES.items()
    ]
    ready = ("False", "KubeletNotReady", state.unready)
    wanted.append(("Ready", *(ready if state.unready else ("True", "KubeletReady", "kubelet is posting ready status"))))
    found = []
    for type, verdict, reason, message in wanted:
        known = before.get(type, {})
        since = known.get("lastTransitionTime") if known.get("status") == verdict else None
        found.append(
            {
                "type": type,
                "status": verdict,
                "lastHeartbeatTime": timestamps.format(now),
                "lastTransitionTime": since or timestamps.format(now),
                "reason": reason,
                "message": message,
            }
        )
    own = {condition["type"] for condition in found}
    return found + [condition for type, condition in before.items() if type not in own]


def _image(image: Image) -> Object:
    names = [*image.repo_digests, *image.repo_tags]
    return {"names": names or [image.id], "sizeBytes": image.size}


def _huge_pages(facts: Facts) -> Iterable[tuple[str, int]]:
    return sorted({"1Gi": 0, "2Mi": 0, **dict(facts.huge_pages)}.items())


def _handler(name: str, features: Features) -> Object:
    able = {"recursiveReadOnlyMounts": features.recursive_read_only, "userNamespaces": features.user_namespaces}
    return {"name": name, "features": able}
