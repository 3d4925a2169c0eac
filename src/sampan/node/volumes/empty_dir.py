"""emptyDir: a folder for the pod's life, on disk, in memory or in huge pages.

https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sampan.meta import quantity
from sampan.node.volumes import mounts
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]

_HUGE = "HugePages"
_PAGES = "hugepages-"


def prepare(folder: Path, spec: Object, pod: Object, allocatable: Mapping[str, str]) -> None:
    """A folder anyone may write to; made once, so that restarts of containers find what they left."""
    medium = spec.get("medium", "")
    if folder.exists() and (not medium or mounts.is_mounted(folder)):
        return
    if medium not in ("", "Memory") and not medium.startswith(_HUGE):
        raise VolumeFailure(f'emptyDir medium "{medium}" is not supported')
    folder.mkdir(parents=True, exist_ok=True)
    if medium == "Memory":
        mounts.mount_tmpfs(folder, memory_bytes(spec, pod, allocatable), mode=0o777)
    elif medium:
        mounts.mount_huge_pages(folder, page_size(medium, pod))
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    if group is not None:
        os.chown(folder, -1, group)
    folder.chmod(0o2777 if group is not None else 0o777)


def memory_bytes(spec: Object, pod: Object, allocatable: Mapping[str, str]) -> int:
    """How large a volume in memory may become: as it says, yet no larger than its pod or the node; 0 for no limit."""
    found = [quantity.to_int(allocatable["memory"])] if allocatable.get("memory") else []
    limits = [((c.get("resources") or {}).get("limits") or {}).get("memory") for c in _containers(pod["spec"])]
    if limits and None not in limits:
        found.append(sum(quantity.to_int(limit) for limit in limits))
    if spec.get("sizeLimit") and quantity.to_int(spec["sizeLimit"]) > 0:
        found.append(quantity.to_int(spec["sizeLimit"]))
    return min(found, default=0)


def page_size(medium: str, pod: Object) -> int:
    """In bytes: the medium's, or that of the only size that the pod asks for. Raises VolumeFailure."""
    if medium.startswith(f"{_HUGE}-"):
        return quantity.to_int(medium.removeprefix(f"{_HUGE}-"))
    asked = {
        name.removeprefix(_PAGES)
        for container in _containers(pod["spec"])
        for part in ("requests", "limits")
        for name in ((container.get("resources") or {}).get(part) or {})
        if name.startswith(_PAGES)
    }
    if len(asked) != 1:
        text = "the medium HugePages" if not asked else "the medium HugePages where several sizes are asked for"
        raise VolumeFailure(f"{text} needs a pod that asks for pages of one size")
    return quantity.to_int(asked.pop())


def _containers(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers") or ()
    yield from spec["containers"]
