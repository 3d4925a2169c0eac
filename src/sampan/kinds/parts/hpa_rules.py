"""Which autoscalers are refused: bounds, the target, metrics, behaviour.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import resource_names
from sampan.meta import names, quantity
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

Tree = Mapping[str, Any]

TYPES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_IN_ORDER = ("object", "external", "pods", "resource", "containerResource")
"""Of several sources, the first is looked at."""
_TARGETS = ("Utilization", "Value", "AverageValue")
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_MAX_WINDOW, _MAX_PERIOD = 3600, 1800
_NO_WAY_BACK = "must specify at least one Object or External metric to support scaling to zero replicas"
_ONE_VALUE = "must set either a target value or averageValue"
_PER_POD = "must set either a target value for metric or a per-pod target"


def causes(spec: Tree, old: Tree | None = None, *, may_be_zero: bool = False) -> list[Cause]:
    """All that is wrong with an autoscaler's spec in its v2 form. One that had minReplicas 0 before may keep it."""
    found = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    lowest = 0 if may_be_zero or (old or {}).get("minReplicas") == 0 else 1
    if least is not None and least < lowest:
        found.append(invalid_value("spec.minReplicas", least, f"must be greater than or equal to {lowest}"))
    if most < 1:
        found.append(invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        found.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    found += _reference_causes(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    for index, metric in enumerate(spec.get("metrics") or ()):
        found += _metric_causes(metric, f"spec.metrics[{index}]")
    if least == 0 and not has_outer_metric(spec):
        found.append(forbidden_field("spec.metrics", _NO_WAY_BACK))
    for name in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(name)
        if rules is not None:
            found += _rules_causes(rules, f"spec.behavior.{name}")
    return found


def has_outer_metric(spec: Tree) -> bool:
    """Whether it has one that there is without pods too."""
    return any(metric.get("type") in ("Object", "External") for metric in spec.get("metrics") or ())


def _reference_causes(reference: Tree, path: str) -> list[Cause]:
    found: list[Cause] = []
    for field in ("kind", "name"):
        value = reference.get(field) or ""
        if not value:
            found.append(required(f"{path}.{field}"))
        found += [invalid_value(f"{path}.{field}", value, text) for text in names.path_segment(value)]
    return found


def _metric_causes(metric: Tree, path: str) -> list[Cause]:
    found: list[Cause] = []
    kind = metric.get("type") or ""
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in TYPES:
        found.append(not_supported(f"{path}.type", kind, TYPES))
    expected = TYPES.get(kind, "")
    present = [field for field in _IN_ORDER if metric.get(field) is not None]
    if present:
        found += _source_causes(metric[present[0]], present[0], f"{path}.{present[0]}")
    if expected and expected not in present:
        found.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    if len(present) != 1:
        text = "must populate the given metric source only"
        found += [forbidden_field(f"{path}.{field}", text) for field in present if field != expected]
    return found


def _source_causes(source: Tree, kind: str, path: str) -> list[Cause]:
    target = source.get("target") or {}
    found: list[Cause] = []
    if kind == "object":
        found += _reference_causes(source.get("describedObject") or {}, f"{path}.describedObject")
    if kind in ("object", "external", "pods"):
        found += _name_causes((source.get("metric") or {}).get("name") or "", f"{path}.metric.name")
    else:
        if not source.get("name"):
            found.append(required(f"{path}.name", "must specify a resource name"))
        if kind == "containerResource":
            found += _container_causes(source.get("name"), source.get("container"), path)
    found += _target_causes(target, f"{path}.target")
    return found + _choice_causes(target, kind, f"{path}.target")


def _container_causes(resource: str | None, container: str | None, path: str) -> list[Cause]:
    found = resource_names.container_causes(resource, f"{path}.name") if resource else []
    if not container:
        return [*found, required(f"{path}.container", "must specify a container")]
    return found + [invalid_value(f"{path}.container", container, text) for text in names.dns1123_label(container)]


def _choice_causes(target: Tree, kind: str, path: str) -> list[Cause]:
    """Which of the target's values a kind of metric needs."""
    value, average, share = (target.get(name) for name in ("value", "averageValue", "averageUtilization"))
    if kind == "pods":
        is_positive = average is not None and quantity.validate(average) is None and quantity.parse(average).nanos > 0
        return [] if is_positive else [required(f"{path}.averageValue", "must specify a positive target averageValue")]
    if kind in ("object", "external"):
        if value is None and average is None:
            return [required(f"{path}.averageValue", _PER_POD if kind == "external" else _ONE_VALUE)]
        if kind == "external" and value is not None and average is not None:
            text = "may not set both a target value for metric and a per-pod target"
            return [forbidden_field(f"{path}.value", text)]
        return []
    if share is None and average is None:
        text = "must set either a target raw value or a target utilization"
        return [required(f"{path}.averageUtilization", text)]
    if share is not None and average is not None:
        return [forbidden_field(f"{path}.averageValue", "may not set both a target raw value and a target utilization")]
    return []


def _name_causes(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path, "must specify a metric name")]
    return [invalid_value(path, name, text) for text in names.path_segment(name)]


def _target_causes(target: Tree, path: str) -> list[Cause]:
    found = []
    kind = target.get("type") or ""
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in _TARGETS:
        found.append(invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        found.append(invalid_value(f"{path}.averageUtilization", share, "must be greater than 0"))
    for field in ("value", "averageValue"):
        value = target.get(field)
        if value is None:
            continue
        complaint = quantity.validate(value)
        if complaint:
            found.append(invalid_value(f"{path}.{field}", str(value), complaint))
        elif quantity.parse(value).nanos <= 0:
            found.append(invalid_value(f"{path}.{field}", quantity.canonical(value), "must be positive"))
    return found


def _rules_causes(rules: Tree, path: str) -> list[Cause]:
    found = []
    window, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    where = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        found.append(invalid_value(where, window, "must be greater than or equal to zero"))
    if window is not None and window > _MAX_WINDOW:
        found.append(invalid_value(where, window, f"must be less than or equal to {_MAX_WINDOW}"))
    if select is not None and select not in _SELECT:
        found.append(not_supported(f"{path}.selectPolicy", select, _SELECT))
    if not rules.get("policies"):
        found.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.get("policies") or ()):
        found += _policy_causes(policy, f"{path}.policies[{index}]")
    tolerance = rules.get("tolerance")
    if tolerance is not None:
        complaint = quantity.validate(tolerance)
        if complaint is None and quantity.parse(tolerance).nanos < 0:
            complaint = "must be greater than or equal to 0"
        if complaint:
            found.append(invalid_value(f"{path}.tolerance", str(tolerance), complaint))
    return found


def _policy_causes(policy: Tree, path: str) -> list[Cause]:
    found = []
    if policy.get("type") not in _POLICIES:
        found.append(not_supported(f"{path}.type", policy.get("type") or "", _POLICIES))
    value, period = policy.get("value") or 0, policy.get("periodSeconds") or 0
    if value <= 0:
        found.append(invalid_value(f"{path}.value", value, "must be greater than zero"))
    if period <= 0:
        found.append(invalid_value(f"{path}.periodSeconds", period, "must be greater than zero"))
    if period > _MAX_PERIOD:
        found.append(invalid_value(f"{path}.periodSeconds", period, f"must be less than or equal to {_MAX_PERIOD}"))
    return found
