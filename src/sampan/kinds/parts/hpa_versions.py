"""The two versions of an autoscaler, one made from the other without loss.

v1 has a field for the cpu target alone. Other metrics, conditions and behaviour are kept as JSON in
annotations autoscaling.alpha.kubernetes.io/..., in forms that only v1 knows.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v1/
"""

import json
from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object

V1, V2 = "autoscaling/v1", "autoscaling/v2"
CPU_PERCENT = 80
PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (
    f"{PREFIX}{name}" for name in ("metrics", "current-metrics", "conditions", "behavior")
)
_SOURCES = ("resource", "containerResource", "pods", "object", "external")

Tree = Mapping[str, Any]


def cpu_metric(percent: int) -> Object:
    """A target for the share of the requested cpu."""
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def convert(hpa: Object, api_version: str) -> Object:
    """The autoscaler in the form of an apiVersion."""
    if hpa.get("apiVersion") == api_version:
        return hpa
    return _to_v1(hpa) if api_version == V1 else _to_v2(hpa)


# v2 to v1


def _to_v1(hpa: Object) -> Object:
    spec, status = dict(hpa.get("spec") or {}), dict(hpa.get("status") or {})
    notes: dict[str, str] = {}
    metrics = spec.pop("metrics", None) or []
    cpu = next((m for m in metrics if _cpu_percent(m) is not None), None)
    others = [_metric_to_v1(m) for m in metrics if m is not cpu]
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = _cpu_percent(cpu)
    behavior = spec.pop("behavior", None)
    current = status.pop("currentMetrics", None) or []
    shares = [m["resource"]["current"].get("averageUtilization") for m in current if _is_cpu(m)]
    if shares and shares[0] is not None:
        status["currentCPUUtilizationPercentage"] = shares[0]
    for name, value in (
        (METRICS, others),
        (CURRENT, [_state_to_v1(m) for m in current]),
        (CONDITIONS, status.pop("conditions", None) or []),
        (BEHAVIOR, _capitalized(behavior)),
    ):
        if value:
            notes[name] = json.dumps(value, separators=(",", ":"))
    status.setdefault("currentReplicas", 0)
    return {**_with_notes(hpa, notes), "apiVersion": V1, "spec": spec, "status": status}


def _is_cpu(metric: Tree) -> bool:
    source = metric.get("resource") or {}
    return metric.get("type") == "Resource" and source.get("name") == "cpu" and "current" in source


def _cpu_percent(metric: Tree) -> int | None:
    source = metric.get("resource") or {}
    if metric.get("type") != "Resource" or source.get("name") != "cpu":
        return None
    percent: int | None = (source.get("target") or {}).get("averageUtilization")
    return percent


def _metric_to_v1(metric: Tree) -> Object:
    return _flattened(metric, "target", {"averageUtilization": "targetAverageUtilization", "value": "targetValue",
                                         "averageValue": "targetAverageValue"})  # fmt: skip


def _state_to_v1(metric: Tree) -> Object:
    return _flattened(metric, "current", {"averageUtilization": "currentAverageUtilization", "value": "currentValue",
                                          "averageValue": "currentAverageValue"})  # fmt: skip


def _flattened(metric: Tree, part: str, renamed: Mapping[str, str]) -> Object:
    """A metric whose values lie in the source itself."""
    made: Object = {"type": metric.get("type")}
    for field in _SOURCES:
        source = metric.get(field)
        if source is None:
            continue
        amounts = source.get(part) or {}
        names = dict(renamed)
        if field == "object":
            names["averageValue"] = "averageValue"
        flat = {k: source[k] for k in ("name", "container") if k in source}
        if field == "object":
            flat["target"] = source.get("describedObject") or {}
        identity = source.get("metric") or {}
        if identity:
            flat["metricName"] = identity.get("name")
            if identity.get("selector") is not None:
                flat["metricSelector" if field == "external" else "selector"] = identity["selector"]
        flat |= {names[k]: v for k, v in amounts.items() if k in names}
        made[field] = flat
    return made


def _capitalized(tree: Any) -> Any:
    """Field names with a capital, as this annotation has them."""
    if isinstance(tree, dict):
        return {k[:1].upper() + k[1:]: _capitalized(v) for k, v in tree.items()}
    return [_capitalized(v) for v in tree] if isinstance(tree, list) else tree


def _with_notes(hpa: Object, notes: Mapping[str, str]) -> Object:
    """The object with these annotations of ours and no others."""
    metadata = dict(hpa.get("metadata") or {})
    kept = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k not in _OURS}
    if kept or notes:
        metadata["annotations"] = {**kept, **notes}
    return {**hpa, "metadata": metadata}


_OURS = (METRICS, CURRENT, CONDITIONS, BEHAVIOR)

# v1 to v2


def _to_v2(hpa: Object) -> Object:
    spec, status = dict(hpa.get("spec") or {}), dict(hpa.get("status") or {})
    notes = (hpa.get("metadata") or {}).get("annotations") or {}
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = [_metric_from_v1(m) for m in _read(notes.get(METRICS), list)]
    if percent is not None:
        metrics = [cpu_metric(percent), *metrics]
    spec["metrics"] = metrics or [cpu_metric(CPU_PERCENT)]
    behavior = _uncapitalized(_read(notes.get(BEHAVIOR), dict))
    if behavior:
        spec["behavior"] = behavior
    share = status.pop("currentCPUUtilizationPercentage", None)
    current = [_state_from_v1(m) for m in _read(notes.get(CURRENT), list)]
    if not current and share is not None:
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": share}}}]
    status["currentMetrics"] = current or None
    conditions = _read(notes.get(CONDITIONS), list)
    if conditions:
        status["conditions"] = conditions
    status.setdefault("desiredReplicas", 0)
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    return {**_with_notes(hpa, {}), "apiVersion": V2, "spec": spec, "status": status}


def _read(text: str | None, kind: type) -> Any:
    """What an annotation holds; nothing, when it is no JSON of that kind."""
    try:
        found = json.loads(text) if text else kind()
    except ValueError:
        return kind()
    return found if isinstance(found, kind) else kind()


def _metric_from_v1(metric: Tree) -> Object:
    return _nested(metric, "target")


def _state_from_v1(metric: Tree) -> Object:
    return _nested(metric, "current")


def _nested(metric: Tree, part: str) -> Object:
    """A metric whose values lie in a structure of their own."""
    made: Object = {"type": metric.get("type")}
    for field in _SOURCES:
        source = metric.get(field)
        if not isinstance(source, dict):
            continue
        values: Object = {}
        for name, type in (("Value", "Value"), ("AverageValue", "AverageValue"), ("AverageUtilization", "Utilization")):
            given = source.get(f"{part}{name}")
            if given is None and name == "AverageValue" and field == "object":
                given = source.get("averageValue")
            if given is not None:
                values[name[:1].lower() + name[1:]] = given
                if part == "target":
                    values["type"] = type
        nested = {k: source[k] for k in ("name", "container") if k in source}
        if field == "object":
            nested["describedObject"] = source.get("target") or {}
        if "metricName" in source:
            identity = {"name": source["metricName"]}
            selector = source.get("metricSelector" if field == "external" else "selector")
            nested["metric"] = identity | ({"selector": selector} if selector is not None else {})
        made[field] = {**nested, part: values}
    return made


def _uncapitalized(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k[:1].lower() + k[1:]: _uncapitalized(v) for k, v in tree.items() if v is not None}
    return [_uncapitalized(v) for v in tree] if isinstance(tree, list) else tree
