"""Scale: how many replicas are wanted, the same body for everything that can be scaled.

https://kubernetes.io/docs/reference/kubernetes-api/autoscaling-resources/scale-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause, invalid_value

SCALE = Kind(
    group="autoscaling",
    versions=("v1",),
    name="Scale",
    plural="",
    schema="io.k8s.api.autoscaling.v1.Scale",
    not_stored=True,
    columns=(
        Column("Desired", "spec.replicas", kind="integer"),
        Column("Available", "status.replicas", kind="integer"),
        AGE,
    ),
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The wish must not be negative."""
    replicas = (new.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        return [invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")]
    return ()
