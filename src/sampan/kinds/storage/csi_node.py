"""CSINode: the storage drivers that run on a node, as the node tells.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/csi-node-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, numbers, storage_rules
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, invalid_value, required

CSINODE = Kind(
    group="storage.k8s.io",
    versions=("v1",),
    name="CSINode",
    plural="csinodes",
    scope=CLUSTER,
    schema="io.k8s.api.storage.v1.CSINode",
    columns=(
        Column(
            "Drivers",
            lambda o, now: len((o.get("spec") or {}).get("drivers") or ()),
            kind="integer",
            description="Drivers indicates the number of CSI drivers registered on the node",
        ),
        cells.AGE,
    ),
    unconditional=False,
    answers_deleted=True,
)

_MAX_NODE_ID = 192


def default(obj: Object) -> None:
    """There is a list of drivers, if an empty one."""
    spec = obj.setdefault("spec", {})
    if spec.get("drivers") is None:
        spec["drivers"] = []


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Each driver once; one that is there keeps all but how many volumes it can have."""
    drivers = (new.get("spec") or {}).get("drivers") or []
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, driver in enumerate(drivers):
        path = f"spec.drivers[{index}]"
        causes += _driver_causes(driver, path)
        name = driver.get("name") or ""
        if name in seen:
            causes.append(duplicate(f"{path}.name", name))
        seen.add(name)
    before = {d.get("name"): d for d in ((old or {}).get("spec") or {}).get("drivers") or ()}
    for driver in drivers:
        had = before.get(driver.get("name"))
        if had is not None and _fixed(driver) != _fixed(had):
            causes.append(invalid_value("spec.drivers", _fixed(driver), "field is immutable"))
    return causes


def _fixed(driver: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in driver.items() if name != "allocatable" and value is not None}


def _driver_causes(driver: dict[str, Any], path: str) -> list[Cause]:
    found = storage_rules.driver_causes(driver.get("name") or "", f"{path}.name")
    node_id = driver.get("nodeID") or ""
    if not node_id:
        found.append(required(f"{path}.nodeID"))
    elif len(node_id) > _MAX_NODE_ID:
        found.append(invalid_value(f"{path}.nodeID", node_id, f"must be {_MAX_NODE_ID} characters or less"))
    found += numbers.negative_causes(driver.get("allocatable") or {}, f"{path}.allocatable", "count")
    keys = driver.get("topologyKeys") or ()
    for number, key in enumerate(keys):
        if not key:
            found.append(required(path))
        if key in keys[:number]:
            found.append(duplicate(path, key))
        found += [invalid_value(path, key, text) for text in names.qualified_name(key)]
    return found
