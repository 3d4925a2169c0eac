"""ResourceSlice: devices of a pool, as their driver advertises them.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-slice-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, slice_rules
from sampan.meta.status import Cause

RESOURCESLICE = Kind(
    group="resource.k8s.io",
    versions=("v1",),
    name="ResourceSlice",
    plural="resourceslices",
    scope=CLUSTER,
    schema="io.k8s.api.resource.v1.ResourceSlice",
    columns=(
        Column("Node", "spec.nodeName"),
        Column("Driver", "spec.driver"),
        Column("Pool", "spec.pool.name"),
        cells.AGE,
    ),
    selectable={"spec.nodeName": "spec.nodeName", "spec.driver": "spec.driver"},
    has_generation=True,
    answers_deleted=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A driver, a pool, a place, devices; driver, pool and node stay."""
    before = None if old is None else old.get("spec") or {}
    return slice_rules.causes(new.get("spec") or {}, before)
