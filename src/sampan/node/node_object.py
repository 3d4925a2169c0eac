"""The Node object: what this machine offers, and whether it is able.

https://kubernetes.io/docs/reference/node/node-status/
"""

from collections.abc import Iterable
from typing import Any

from sampan.kinds.parts import local_volumes
from sampan.meta import timestamps
from sampan.node.facts import Facts
from sampan.node.images.model import Image
from sampan.node.parts import AgentSettings
from sampan.node.runtime.protocol import Features

Object = dict[str, Any]

KUBELET_VERSION = "v1.36.0"
SHOWN_IMAGES = 50
DECLARED = ("RestartAllContainersOnContainerExits",)
"""What not every node of this version can do, in order."""

_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


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
        spec = {"podCIDR": settings.pod_cidr, "podCIDRs": [settings.pod_cidr]}
    if settings.taints:
        spec["taints"] = list(settings.taints)
    annotations = {local_volumes.FOLDER: str(settings.local_volumes.absolute())}
    metadata = {"name": settings.node, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def status(settings: AgentSettings, facts: Facts, runtime: tuple[str, Features], images: Iterable[Image]) -> Object:
    """Everything of the status but the conditions; `runtime` is its version, and what it can do here."""
    handler = {"recursiveReadOnlyMounts": runtime[1].recursive_read_only, "userNamespaces": False}
    return {
        "addresses": [
            {"type": "InternalIP", "address": settings.internal_ip},
            {"type": "Hostname", "address": settings.node},
        ],
        "allocatable": resources(settings, facts),
        "capacity": resources(settings, facts),
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
        "runtimeHandlers": [{"name": "", "features": handler}],
    }


def resources(settings: AgentSettings, facts: Facts) -> dict[str, str]:
    """What pods may use."""
    return {
        "cpu": str(facts.cpus),
        "ephemeral-storage": f"{facts.disk_bytes // 1024}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{facts.memory_bytes // 1024}Ki",
        "pods": str(settings.max_pods),
    }


def conditions(old: Iterable[Object], now: float) -> list[Object]:
    """A node that is able, seen alive now; a condition's transition time stays while its status does."""
    before = {condition.get("type", ""): condition for condition in old}
    wanted = [(type, "False", reason, message) for type, reason, message in _PRESSURES]
    wanted.append(("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    found = []
    for type, state, reason, message in wanted:
        known = before.get(type, {})
        since = known.get("lastTransitionTime") if known.get("status") == state else None
        found.append(
            {
                "type": type,
                "status": state,
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
