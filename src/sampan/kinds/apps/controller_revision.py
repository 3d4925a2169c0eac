"""ControllerRevision: one past state of a workload, kept for rolling back.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import numbers
from sampan.kinds.parts.cells import AGE, NONE
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value, required


def controller_text(obj: Object, now: float) -> str:
    """Its controller: statefulset.apps/web."""
    owner = objects.controller_of(obj)
    if owner is None:
        return NONE
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = owner.get("kind", "").lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


CONTROLLERREVISION = Kind(
    group="apps",
    versions=("v1",),
    name="ControllerRevision",
    plural="controllerrevisions",
    schema="io.k8s.api.apps.v1.ControllerRevision",
    columns=(
        Column("Controller", controller_text, description="Controller of the object"),
        Column("Revision", "revision", kind="string", description="Revision number of the object"),
        AGE,
    ),
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """It has data, which never changes, and a number."""
    causes = numbers.negative_causes(new, "", "revision")
    causes = [Cause("revision", c.type, c.message) for c in causes]
    if old is None and new.get("data") is None:
        causes.append(required("data", "data is mandatory"))
    if old is not None and not objects.same(new.get("data"), old.get("data")):
        causes.append(invalid_value("data", new.get("data"), "field is immutable"))
    return causes
