"""Who has to go when the node is low on something, in which order, and what is said of it. Pure.

Pods that use more than they asked for go first, among them those of low priority, then by how much more they use.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#pod-selection-for-kubelet-eviction
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.parts import pod_resources
from sampan.meta import quantity
from sampan.meta.quantity import Quantity
from sampan.node.pod_use import ContainerUse, PodUse, Space
from sampan.node.thresholds import IMAGE_FS, IMAGE_INODES, RESOURCES, Amount, Threshold

SOON_SECONDS = 1.0
"""The grace of a pod that has to go at once."""


def rank(signal: str, pods: Iterable[PodUse], *, has_image_disk: bool) -> list[PodUse]:
    """The pods in the order in which they have to go. `has_image_disk`: images lie on a disk of their own."""
    resource = RESOURCES[signal]
    if resource == "pids":
        return sorted(pods, key=lambda use: (_priority(use), -use.processes))
    if resource == "memory":
        return sorted(pods, key=lambda use: _place(use, use.memory, "memory"))
    is_inodes = resource == "inodes"

    def taken(use: PodUse) -> int:
        space = _on_disk(use, signal, has_image_disk=has_image_disk)
        return space.inodes if is_inodes else space.used_bytes

    return sorted(pods, key=lambda use: _place(use, taken(use), resource))


def message(due: Sequence[Threshold], signals: Mapping[str, Amount], use: PodUse) -> tuple[str, dict[str, str]]:
    """What the pod's status says when it has to go for the first of these thresholds; with its event's annotations."""
    resource = RESOURCES[due[0].signal]
    text = f"The node was low on resource: {resource}. "
    seen = signals.get(due[0].signal)
    if seen is not None:
        left = quantity.of_int(seen.available, binary=True)
        text += f"Threshold quantity: {due[0].amount(seen.capacity)}, available: {left}. "
    found = []
    spec = use.pod["spec"]
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        used = _used(use.containers.get(container["name"]), resource)
        asked = quantity.parse(((container.get("resources") or {}).get("requests") or {}).get(resource, "0"))
        if used is not None and used.nanos > asked.nanos:
            found.append((container["name"], str(used)))
            text += f"Container {container['name']} was using {used}, request is {asked}, "
            text += f"has larger consumption of {resource}. "
    marks = {
        "offending_containers": ",".join(name for name, _ in found),
        "offending_containers_usage": ",".join(amount for _, amount in found),
        "starved_resource": resource,
    }
    return text, marks


def _place(use: PodUse, used: int | None, resource: str) -> tuple[Any, ...]:
    """Not measured; more than asked for; of low priority; most over its request."""
    if used is None:
        return (0, 0, _priority(use), 0)
    asked = pod_resources.requests(use.pod["spec"]).get(resource, quantity.ZERO).to_int
    return (1, 0 if used > asked else 1, _priority(use), asked - used)


def _priority(use: PodUse) -> int:
    return int(use.pod["spec"].get("priority") or 0)


def _on_disk(use: PodUse, signal: str, *, has_image_disk: bool) -> Space:
    """Containers write beside logs and volumes, so an images' disk of its own is not filled by pods."""
    if has_image_disk and signal in (IMAGE_FS, IMAGE_INODES):
        return Space()
    return use.layers + use.kept


def _used(use: ContainerUse | None, resource: str) -> Quantity | None:
    if use is None:
        return None
    if resource == "ephemeral-storage":
        return quantity.of_int((use.layer + use.logs).used_bytes, binary=True)
    if resource == "memory" and use.memory is not None:
        return quantity.of_int(use.memory, binary=True)
    return None
