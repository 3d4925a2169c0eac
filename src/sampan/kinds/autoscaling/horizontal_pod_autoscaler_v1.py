"""HorizontalPodAutoscaler of autoscaling/v1: a target for cpu; all else that v2 knows is in annotations.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v1/
"""

from collections.abc import Sequence

from sampan.kinds.feature_gates import HPA_SCALE_TO_ZERO
from sampan.kinds.kind import STATUS, Kind, Object
from sampan.kinds.parts import hpa_columns, hpa_rules, hpa_versions, numbers
from sampan.meta.status import Cause

HORIZONTALPODAUTOSCALER_V1 = Kind(
    group="autoscaling",
    versions=("v1",),
    storage_version="v2",
    name="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    schema="io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    subresources=(STATUS,),
    columns=hpa_columns.columns(lambda o, now: hpa_columns.targets_text(hpa_versions.convert(o, hpa_versions.V2), now)),
)

convert = hpa_versions.convert


def default(obj: Object) -> None:
    """At least one pod."""
    obj.setdefault("spec", {}).setdefault("minReplicas", 1)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has measured nothing yet."""
    if old is None:
        new["status"] = {"currentReplicas": 0, "desiredReplicas": 0}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The rules of v2 for what it says in v2's words."""
    return _causes(new, old, subresource, may_be_zero=False)


def _validate_with_zero(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The same where the gate is open."""
    return _causes(new, old, subresource, may_be_zero=True)


GATED = {HPA_SCALE_TO_ZERO: {"validate": _validate_with_zero}}
"""Hooks in place of the others where a feature gate is open."""


def _causes(new: Object, old: Object | None, subresource: str, *, may_be_zero: bool) -> Sequence[Cause]:
    if subresource == "status":
        return numbers.negative_causes(new.get("status") or {}, "status", "currentReplicas", "desiredReplicas")
    spec, before = (hpa_versions.convert(each or {}, hpa_versions.V2).get("spec") or {} for each in (new, old))
    return hpa_rules.causes(spec, before, may_be_zero=may_be_zero)
