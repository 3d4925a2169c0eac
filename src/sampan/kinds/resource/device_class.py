"""DeviceClass: devices that are alike, chosen by an administrator, and how to set them up.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/device-class-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.kinds.parts import cells, device_names, device_rules, resource_rules
from sampan.meta.status import Cause, invalid_value

DEVICECLASS = Kind(
    group="resource.k8s.io",
    versions=("v1",),
    name="DeviceClass",
    plural="deviceclasses",
    scope=CLUSTER,
    schema="io.k8s.api.resource.v1.DeviceClass",
    columns=(cells.AGE,),
    has_generation=True,
    answers_deleted=True,
)


def default(obj: Object) -> None:
    """There is a spec, if an empty one."""
    obj.setdefault("spec", {})


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Selectors that compile, configuration for drivers."""
    spec: Object = new.get("spec") or {}
    causes = device_rules.selector_list_causes(spec.get("selectors") or [], "spec.selectors")
    causes += device_names.list_causes(
        spec.get("config") or [], "spec.config", device_rules.MAX_LIST, device_rules.config_causes
    )
    name = spec.get("extendedResourceName")
    if name is not None and not resource_rules.is_extended(name):
        text = "must be a valid extended resource name"
        causes.append(invalid_value("spec.extendedResourceName", name, text))
    return causes
