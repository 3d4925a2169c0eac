"""Which wishes about nodes are refused: node selectors, tolerations, affinity, spreading."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.meta import names, validation
from sampan.meta.status import Cause, invalid_value, not_supported, required

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_MAX_WEIGHT = 100


def causes(spec: Mapping[str, Any], path: str) -> list[Cause]:
    """All that is wrong with tolerations, affinity and spread constraints."""
    found: list[Cause] = []
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        found += _toleration_causes(toleration, f"{path}.tolerations[{index}]")
    affinity = spec.get("affinity") or {}
    if affinity.get("nodeAffinity"):
        found += _node_affinity_causes(affinity["nodeAffinity"], f"{path}.affinity.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        if affinity.get(name):
            found += _pod_affinity_causes(affinity[name], f"{path}.affinity.{name}")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        found += _spread_causes(constraint, f"{path}.topologySpreadConstraints[{index}]")
    return found


def node_selector_causes(selector: Mapping[str, Any], path: str) -> list[Cause]:
    """Labels, as any others."""
    return list(validation.labels(selector, path))


def _toleration_causes(toleration: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    key, operator, effect = toleration.get("key"), toleration.get("operator"), toleration.get("effect")
    if key:
        found += [invalid_value(f"{path}.key", key, text) for text in names.qualified_name(key)]
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        found.append(invalid_value(f"{path}.operator", operator or "", text))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        found.append(invalid_value(f"{path}.effect", effect or "", text))
    if operator in (None, "", "Equal"):
        value = toleration.get("value") or ""
        found += [invalid_value(f"{path}.operator", value, text) for text in names.label_value(value)]
    elif operator == "Exists":
        if toleration.get("value"):
            text = "value must be empty when `operator` is 'Exists'"
            found.append(invalid_value(f"{path}.operator", dict(toleration), text))
    else:
        found.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in _EFFECTS:
        found.append(not_supported(f"{path}.effect", effect, _EFFECTS))
    return found


def _node_affinity_causes(affinity: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        where = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        terms = needed.get("nodeSelectorTerms") or ()
        if not terms:
            found.append(required(where, "must have at least one node selector term"))
        for index, term in enumerate(terms):
            found += _term_causes(term, f"{where}[{index}]")
    for index, wish in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        where = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        found += _weight_causes(wish, where)
        found += _term_causes(wish.get("preference") or {}, f"{where}.preference")
    return found


def _term_causes(term: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        operator, values = expression.get("operator"), expression.get("values") or ()
        if operator in {"In", "NotIn"} and not values:
            found.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in {"Exists", "DoesNotExist"} and values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(Cause(f"{where}.values", "FieldValueForbidden", f"Forbidden: {text}"))
        elif operator in {"Gt", "Lt"} and len(values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            found.append(required(f"{where}.values", text))
        elif operator not in _OPERATORS:
            found.append(invalid_value(f"{where}.operator", operator or "", "not a valid selector operator"))
        key = expression.get("key") or ""
        found += [invalid_value(f"{where}.key", key, text) for text in names.qualified_name(key)]
    return found


def _weight_causes(wish: Mapping[str, Any], path: str) -> list[Cause]:
    weight = wish.get("weight") or 0
    ok = 1 <= weight <= _MAX_WEIGHT
    return [] if ok else [invalid_value(f"{path}.weight", weight, "must be in the range 1-100")]


def _pod_affinity_causes(affinity: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    name = "requiredDuringSchedulingIgnoredDuringExecution"
    found += _pod_terms_causes(affinity.get(name) or (), f"{path}.{name}")
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    for index, wish in enumerate(affinity.get(name) or ()):
        where = f"{path}.{name}[{index}]"
        found += _weight_causes(wish, where)
        found += _pod_term_causes(wish.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return found


def _pod_terms_causes(terms: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    return [cause for index, term in enumerate(terms) for cause in _pod_term_causes(term, f"{path}[{index}]")]


def _pod_term_causes(term: Mapping[str, Any], path: str) -> list[Cause]:
    found = list(validation.label_selector(term.get("labelSelector"), f"{path}.labelSelector"))
    key = term.get("topologyKey") or ""
    if not key:
        return [*found, required(f"{path}.topologyKey", "can not be empty")]
    return found + [invalid_value(f"{path}.topologyKey", key, text) for text in names.qualified_name(key)]


def _spread_causes(constraint: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    if (constraint.get("maxSkew") or 0) <= 0:
        found.append(invalid_value(f"{path}.maxSkew", constraint.get("maxSkew") or 0, "must be greater than zero"))
    if not constraint.get("topologyKey"):
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    if constraint.get("whenUnsatisfiable") not in _UNSATISFIABLE:
        value = constraint.get("whenUnsatisfiable") or ""
        found.append(not_supported(f"{path}.whenUnsatisfiable", value, _UNSATISFIABLE))
    return found + list(validation.label_selector(constraint.get("labelSelector"), f"{path}.labelSelector"))
