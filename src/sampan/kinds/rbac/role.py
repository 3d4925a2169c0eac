"""Role: what may be done in one namespace.

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/role-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import rbac_rules
from sampan.kinds.parts.cells import CREATED_AT
from sampan.meta import names
from sampan.meta.status import Cause

ROLE = Kind(
    group="rbac.authorization.k8s.io",
    versions=("v1",),
    name="Role",
    plural="roles",
    schema="io.k8s.api.rbac.v1.Role",
    put_creates=True,
    columns=(CREATED_AT,),
    name_check=names.path_segment,
)


def default(obj: Object) -> None:
    """Without rules it says so: null."""
    obj.setdefault("rules", None)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Rules for resources only."""
    return rbac_rules.rule_causes(new.get("rules") or (), namespaced=True)
