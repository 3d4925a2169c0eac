"""VolumeAttributesClass: a set of a driver's own settings, which a volume can be moved to while in use.

https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, storage_rules
from sampan.meta.status import Cause, forbidden_field, required

VOLUMEATTRIBUTESCLASS = Kind(
    group="storage.k8s.io",
    versions=("v1",),
    name="VolumeAttributesClass",
    plural="volumeattributesclasses",
    scope=CLUSTER,
    schema="io.k8s.api.storage.v1.VolumeAttributesClass",
    short_names=("vac",),
    columns=(Column("DriverName", "driverName"), cells.AGE),
    answers_deleted=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A driver and at least one setting, and both stay."""
    parameters = new.get("parameters") or {}
    causes = [
        forbidden_field(field, f"updates to {field} are forbidden.")
        for field in ("driverName", "parameters")
        if old is not None and (new.get(field) or None) != (old.get(field) or None)
    ]
    causes += storage_rules.provisioner_causes(new.get("driverName") or "", "driverName")
    causes += storage_rules.parameter_causes(parameters, "parameters")
    return causes if parameters else [*causes, required("parameters", "must contain at least one key/value pair")]
