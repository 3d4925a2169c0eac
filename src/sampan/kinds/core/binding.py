"""Binding: which node a pod shall run on, said once by the scheduler.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/binding-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.meta.status import Cause, not_supported, required

BINDING = Kind(
    group="",
    versions=("v1",),
    name="Binding",
    plural="bindings",
    verbs=("create",),
    schema="io.k8s.api.core.v1.Binding",
    not_stored=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The target is a node, by name."""
    target = new.get("target") or {}
    causes: list[Cause] = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(required("target.name"))
    return causes
