"""Pod claims: the claims behind a pod's volumes: those that it names, and those that are made for it alone. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.meta import objects

Tree = Mapping[str, Any]


def of(pod: Tree) -> Iterable[tuple[Tree, str]]:
    """Each volume that has a claim behind it, and the claim's name."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if (name := name_of(pod, volume)) is not None:
            yield volume, name


def name_of(pod: Tree, volume: Tree) -> str | None:
    """The name of the claim behind one of the pod's volumes, if there is one."""
    if volume.get("persistentVolumeClaim") is not None:
        return str(volume["persistentVolumeClaim"].get("claimName") or "")
    return made_name(pod, volume) if volume.get("ephemeral") is not None else None


def names(pod: Tree) -> set[str]:
    """The names of all of them."""
    found = set()
    for volume in (pod.get("spec") or {}).get("volumes") or ():  # asked at each change of a pod: no generator
        if (name := name_of(pod, volume)) is not None:
            found.add(name)
    return found


def made_name(pod: Tree, volume: Tree) -> str:
    """The name of the claim that is made for a volume of the pod."""
    return f"{objects.name(pod)}-{volume['name']}"
