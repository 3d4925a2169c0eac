"""Devices of a simulated node, as their driver would tell of them: ResourceSlices, made of plain words.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#resourceslice
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.resource.resource_slice import RESOURCESLICE
from sampan.meta import objects

Object = dict[str, Any]
Given = str | Mapping[str, Any]

MOST_DEVICES = 64
"""In one slice, where some have taints or share something."""


def slices(node: Object, driver: str, devices: Sequence[Object], generation: int) -> list[Object]:
    """As many as it takes. They are the node's: they go with it."""
    groups = [devices[first : first + MOST_DEVICES] for first in range(0, len(devices), MOST_DEVICES)]
    owner = objects.owner_reference({"apiVersion": "v1", "kind": "Node", **node}, block=False)
    name = objects.name(node)
    pool = {"name": name, "generation": generation, "resourceSliceCount": len(groups)}
    return [
        {
            "apiVersion": RESOURCESLICE.api_version,
            "kind": RESOURCESLICE.name,
            "metadata": {"generateName": f"{name}-{driver}-", "ownerReferences": [owner]},
            "spec": {"driver": driver, "nodeName": name, "pool": pool, "devices": list(group)},
        }
        for group in groups
    ]


def of_driver(found: Iterable[Object], node: str, driver: str) -> list[Object]:
    """Those of some slices in which a driver tells of a node's devices."""
    return [s for s in found if (s["spec"].get("nodeName"), s["spec"].get("driver")) == (node, driver)]


def known(found: Iterable[Object]) -> tuple[list[Object], int]:
    """The devices that slices tell of, and their generation: the newest counts."""
    listed = list(found)
    newest = max((each["spec"]["pool"]["generation"] for each in listed), default=0)
    current = [each for each in listed if each["spec"]["pool"]["generation"] == newest]
    return [device for each in current for device in each["spec"].get("devices") or ()], newest


def device(given: Given) -> Object:
    """A device from its name, or from all that a slice says of one, in which values may stand plain."""
    if isinstance(given, str):
        return {"name": given}
    made = dict(given)
    if "attributes" in made:
        made["attributes"] = {name: _attribute(value) for name, value in made["attributes"].items()}
    if "capacity" in made:
        made["capacity"] = {name: _capacity(value) for name, value in made["capacity"].items()}
    return made


def _attribute(value: Any) -> Any:
    if isinstance(value, bool):
        return {"bool": value}
    if isinstance(value, int):
        return {"int": value}
    return {"string": value} if isinstance(value, str) else value


def _capacity(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {"value": str(value)}
