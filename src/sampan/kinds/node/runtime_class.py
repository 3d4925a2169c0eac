"""RuntimeClass: another way to run containers on some nodes, and what it costs.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/runtime-class-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, placement_rules, resource_rules
from sampan.meta import names, validation
from sampan.meta.status import Cause, invalid_value

RUNTIMECLASS = Kind(
    group="node.k8s.io",
    versions=("v1",),
    name="RuntimeClass",
    plural="runtimeclasses",
    scope=CLUSTER,
    schema="io.k8s.api.node.v1.RuntimeClass",
    columns=(Column("Handler", "handler"), cells.AGE),
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A handler, which stays; amounts, node labels and tolerations as a pod has them."""
    handler = new.get("handler") or ""
    if old is not None:
        same = handler == (old.get("handler") or "")
        return [] if same else [invalid_value("handler", handler, "field is immutable")]
    causes = [invalid_value("handler", handler, text) for text in names.dns1123_label(handler)]
    overhead, scheduling = new.get("overhead") or {}, new.get("scheduling") or {}
    if overhead.get("podFixed"):
        causes += resource_rules.container_causes({"limits": overhead["podFixed"]}, "overhead")
    causes += validation.labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    return causes + placement_rules.toleration_causes(scheduling.get("tolerations") or (), "scheduling.tolerations")
