"""Limits of what a pod may keep on the node's disk: of its emptyDirs, its containers, and all together. Pure.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#local-ephemeral-storage
"""

from sampan.kinds.parts import pod_resources
from sampan.meta import quantity
from sampan.meta.quantity import Quantity
from sampan.node.pod_use import Object, PodUse

STORAGE = "ephemeral-storage"
EMPTY_DIR, POD, CONTAINER = "emptydirfs.limit", "ephemeralpodfs.limit", "ephemeralcontainerfs.limit"


def has_limits(pod: Object) -> bool:
    """Whether the pod's use of the disk has to be looked at."""
    return bool(_empty_dirs(pod) or _containers(pod)) or STORAGE in pod_resources.limits(pod["spec"])


def excess(use: PodUse) -> tuple[str, str] | None:
    """The limit that the pod exceeds (as its signal's name) and the message; None when it exceeds none."""
    pod = use.pod
    for name, limit in _empty_dirs(pod).items():
        if name in use.volumes and use.volumes[name].used_bytes > limit.to_int:
            return EMPTY_DIR, f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    whole = pod_resources.limits(pod["spec"]).get(STORAGE)
    if whole is not None and (use.layers + use.kept).used_bytes > whole.to_int:
        return POD, f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    for name, limit in _containers(pod).items():
        used = use.containers.get(name)
        if used is not None and (used.layer + used.logs).used_bytes > limit.to_int:
            return CONTAINER, f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return None


def _empty_dirs(pod: Object) -> dict[str, Quantity]:
    """The limits of the emptyDirs on disk, by volume; those in memory can't grow past theirs."""
    found = {}
    for volume in pod["spec"].get("volumes") or ():
        source = volume.get("emptyDir") or {}
        if "sizeLimit" in source and source.get("medium") != "Memory":
            limit = quantity.parse(source["sizeLimit"])
            if limit:
                found[volume["name"]] = limit
    return found


def _containers(pod: Object) -> dict[str, Quantity]:
    found = {}
    for container in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())):
        limit = ((container.get("resources") or {}).get("limits") or {}).get(STORAGE)
        if limit is not None and (parsed := quantity.parse(limit)):
            found[container["name"]] = parsed
    return found
