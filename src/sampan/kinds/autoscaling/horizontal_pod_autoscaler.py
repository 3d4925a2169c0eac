"""HorizontalPodAutoscaler: as many pods as the load asks for. autoscaling/v2, as it is stored.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.feature_gates import HPA_SCALE_TO_ZERO
from sampan.kinds.kind import STATUS, Kind, Object
from sampan.kinds.parts import hpa_columns, hpa_rules, hpa_versions, numbers
from sampan.meta.status import Cause

HORIZONTALPODAUTOSCALER = Kind(
    group="autoscaling",
    versions=("v2",),
    name="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    schema="io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    subresources=(STATUS,),
    columns=hpa_columns.columns(hpa_columns.targets_text),
)

_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: dict[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}

convert = hpa_versions.convert


def default(obj: Object) -> None:
    """At least one pod; four fifths of the requested cpu; upstream's pace, where a behaviour is given."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [hpa_versions.cpu_metric(hpa_versions.CPU_PERCENT)]
    behavior = spec.get("behavior")
    if behavior is not None:
        for name, usual in (("scaleUp", _UP), ("scaleDown", _DOWN)):
            given = {k: v for k, v in (behavior.get(name) or {}).items() if v is not None}
            behavior[name] = {**{k: list(v) if k == "policies" else v for k, v in usual.items()}, **given}


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has measured nothing yet."""
    if old is None:
        new["status"] = {"currentMetrics": None, "desiredReplicas": 0}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Bounds, target, metrics and behaviour; status counts are not negative."""
    return _causes(new, old, subresource, may_be_zero=False)


def _validate_with_zero(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The same where the gate is open."""
    return _causes(new, old, subresource, may_be_zero=True)


GATED = {HPA_SCALE_TO_ZERO: {"validate": _validate_with_zero}}
"""Hooks in place of the others where a feature gate is open."""


def _causes(new: Object, old: Object | None, subresource: str, *, may_be_zero: bool) -> Sequence[Cause]:
    if subresource == "status":
        return numbers.negative_causes(new.get("status") or {}, "status", "currentReplicas", "desiredReplicas")
    return hpa_rules.causes(new.get("spec") or {}, (old or {}).get("spec"), may_be_zero=may_be_zero)
