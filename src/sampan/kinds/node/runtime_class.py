"""RuntimeClass: another way to run containers on some nodes, and what it costs.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/runtime-class-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, placement_rules, resource_rules
from sampan.meta import names, validation
from sampan.meta.status import Cause, duplicate, invalid_value

RUNTIMECLASS = Kind(
    group="node.k8s.io",
    versions=("v1",),
    name="RuntimeClass",
    plural="runtimeclasses",
    scope=CLUSTER,
    schema="io.k8s.api.node.v1.RuntimeClass",
    columns=(Column("Handler", "handler"), cells.AGE),
    bare_finalizers=True,
    put_creates=True,
    unconditional=False,
)


_TOLERATION_KEYS = ("key", "operator", "value", "effect")


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A handler, which stays; amounts, node labels and tolerations as a pod has them."""
    handler = new.get("handler") or ""
    causes = [invalid_value("handler", handler, text) for text in names.dns1123_label(handler)]
    overhead, scheduling = new.get("overhead") or {}, new.get("scheduling") or {}
    if overhead.get("podFixed"):
        causes += resource_rules.container_causes({"limits": overhead["podFixed"]}, "overhead")
    causes += validation.labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    causes += _toleration_causes(scheduling.get("tolerations") or ())
    if old is not None and handler != (old.get("handler") or ""):
        causes.append(invalid_value("handler", handler, "field is immutable"))
    return causes


def _toleration_causes(tolerations: Sequence[Object]) -> list[Cause]:
    """As a pod has them, and each once."""
    path = "scheduling.tolerations"
    keys = [tuple(one.get(field) or "" for field in _TOLERATION_KEYS) for one in tolerations]
    doubled = [index for index, key in enumerate(keys) if key in keys[:index]]
    found = placement_rules.toleration_causes(tolerations, f"{path}.tolerations")
    return found + [duplicate(f"{path}[{index}]", tolerations[index]) for index in doubled]
