"""RoleBinding: who may do what a role says, in one namespace.

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/role-binding-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import rbac_rules
from sampan.meta import names
from sampan.meta.status import Cause

ROLEBINDING = Kind(
    group="rbac.authorization.k8s.io",
    versions=("v1",),
    name="RoleBinding",
    plural="rolebindings",
    schema="io.k8s.api.rbac.v1.RoleBinding",
    put_creates=True,
    columns=rbac_rules.BINDING_COLUMNS,
    name_check=names.path_segment,
)


def default(obj: Object) -> None:
    """API groups of the role and of the subjects."""
    rbac_rules.default_binding(obj)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A role that may be bound here, and subjects."""
    return rbac_rules.binding_causes(new, old, roles=("ClusterRole", "Role"))
