"""ClusterRole: what may be done anywhere, or wherever it is bound.

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/cluster-role-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.kinds.parts import rbac_rules
from sampan.kinds.parts.cells import CREATED_AT
from sampan.meta import names, validation
from sampan.meta.status import Cause, required

CLUSTERROLE = Kind(
    group="rbac.authorization.k8s.io",
    versions=("v1",),
    name="ClusterRole",
    plural="clusterroles",
    scope=CLUSTER,
    schema="io.k8s.api.rbac.v1.ClusterRole",
    put_creates=True,
    columns=(CREATED_AT,),
    name_check=names.path_segment,
)


def default(obj: Object) -> None:
    """Without rules it says so: null."""
    obj.setdefault("rules", None)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Rules for resources or URLs; aggregated ones are chosen by label."""
    causes = rbac_rules.rule_causes(new.get("rules") or (), namespaced=False)
    aggregation = new.get("aggregationRule")
    if aggregation is not None:
        path = "aggregationRule.clusterRoleSelectors"
        if not aggregation.get("clusterRoleSelectors"):
            causes.append(required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
        for index, selector in enumerate(aggregation.get("clusterRoleSelectors") or ()):
            causes += validation.label_selector(selector, f"{path}[{index}]")
    return causes
