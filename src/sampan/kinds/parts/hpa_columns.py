"""What `kubectl get hpa` shows: the target, each metric as it is and should be, and the bounds."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Column, Object
from sampan.kinds.parts.cells import AGE, NONE, UNKNOWN
from sampan.kinds.parts.hpa_rules import TYPES

_SHOWN = 2


def reference_text(obj: Object, now: float) -> str:
    """Deployment/web."""
    target = (obj.get("spec") or {}).get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def targets_text(obj: Object, now: float) -> str:
    """ "cpu: 40%/80%", of two metrics at most. `obj` is in the v2 form."""
    specs = (obj.get("spec") or {}).get("metrics") or ()
    states = (obj.get("status") or {}).get("currentMetrics") or ()
    if not specs:
        return NONE
    listed = [_metric(spec, states[i] if i < len(states) else {}) for i, spec in enumerate(specs)]
    text = ", ".join(listed[:_SHOWN])
    return f"{text} + {len(listed) - _SHOWN} more..." if len(listed) > _SHOWN else text


def _metric(spec: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    field = TYPES.get(spec.get("type") or "")
    if field is None:
        return "<unknown type>"
    source = spec.get(field) or {}
    target, current = source.get("target") or {}, (state.get(field) or {}).get("current") or {}
    is_resource = field in ("resource", "containerResource")
    head = f"{source.get('name')}: " if is_resource else ""
    if target.get("averageValue") is not None:
        tail = " (avg)" if field in ("external", "object") else ""
        return f"{head}{current.get('averageValue', UNKNOWN)}/{target['averageValue']}{tail}"
    if is_resource:
        share, wish = current.get("averageUtilization"), target.get("averageUtilization")
        return f"{head}{UNKNOWN if share is None else f'{share}%'}/{'<auto>' if wish is None else f'{wish}%'}"
    return f"{current.get('value', UNKNOWN)}/{target.get('value')}"


def _least(obj: Object, now: float) -> str:
    value = (obj.get("spec") or {}).get("minReplicas")
    return "<unset>" if value is None else str(value)


def columns(targets: Any) -> tuple[Column, ...]:
    """The columns; `targets` says the metrics of an object of the version at hand."""
    return (
        Column("Reference", reference_text),
        Column("Targets", targets),
        Column("MinPods", _least),
        Column("MaxPods", "spec.maxReplicas"),
        Column("Replicas", lambda o, now: (o.get("status") or {}).get("currentReplicas") or 0),
        AGE,
    )
