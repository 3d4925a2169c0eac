"""Which wishes about nodes are refused: node selectors, tolerations, affinity, spreading."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import label_keys, node_selector_rules
from sampan.meta import names, validation
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_INCLUSIONS = ("Honor", "Ignore")
_MAX_WEIGHT = 100


def causes(spec: Mapping[str, Any], path: str) -> list[Cause]:
    """All that is wrong with tolerations, affinity and spread constraints."""
    found: list[Cause] = []
    found += toleration_causes(spec.get("tolerations") or (), f"{path}.tolerations")
    affinity = spec.get("affinity") or {}
    if affinity.get("nodeAffinity"):
        found += _node_affinity_causes(affinity["nodeAffinity"], f"{path}.affinity.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        if affinity.get(name):
            found += _pod_affinity_causes(affinity[name], f"{path}.affinity.{name}")
    return found + _spreads_causes(spec.get("topologySpreadConstraints") or (), f"{path}.topologySpreadConstraints")


def node_selector_causes(selector: Mapping[str, Any], path: str) -> list[Cause]:
    """Labels, as any others."""
    return list(validation.labels(selector, path))


def toleration_causes(tolerations: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    """All that is wrong with tolerations, a pod's or a RuntimeClass's."""
    return [cause for index, one in enumerate(tolerations) for cause in _toleration_causes(one, f"{path}[{index}]")]


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
            found.append(invalid_value(f"{path}.operator", toleration["value"], text))
    else:
        found.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in _EFFECTS:
        found.append(not_supported(f"{path}.effect", effect, _EFFECTS))
    return found


def _node_affinity_causes(affinity: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        found += node_selector_rules.causes(needed, f"{path}.requiredDuringSchedulingIgnoredDuringExecution")
    for index, wish in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        where = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        found += _weight_causes(wish, where)
        found += node_selector_rules.term_causes(wish.get("preference") or {}, f"{where}.preference")
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
    found += validation.label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        found += [invalid_value(f"{path}.namespace", name, text) for text in names.dns1123_label(name)]
    found += label_keys.causes(term, path)
    key = term.get("topologyKey") or ""
    if not key:
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    return found + [invalid_value(f"{path}.topologyKey", key, text) for text in names.qualified_name(key)]


def _spreads_causes(constraints: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    found: list[Cause] = []
    pairs = [(one.get("topologyKey"), one.get("whenUnsatisfiable")) for one in constraints]
    for index, constraint in enumerate(constraints):
        where = f"{path}[{index}]"
        found += _spread_causes(constraint, where)
        pair = pairs[index]
        if pair in pairs[index + 1 :]:
            field = f"{where}.{{topologyKey, whenUnsatisfiable}}"
            found.append(duplicate(field, f"{{{pair[0]}, {pair[1]}}}"))
    return found


def _spread_causes(constraint: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    if (constraint.get("maxSkew") or 0) <= 0:
        found.append(invalid_value(f"{path}.maxSkew", constraint.get("maxSkew") or 0, "must be greater than zero"))
    if not constraint.get("topologyKey"):
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    when = constraint.get("whenUnsatisfiable") or ""
    if when not in _UNSATISFIABLE:
        found.append(not_supported(f"{path}.whenUnsatisfiable", when, _UNSATISFIABLE))
    domains = constraint.get("minDomains")
    if domains is not None and domains <= 0:
        found.append(invalid_value(f"{path}.minDomains", domains, "must be greater than zero"))
    if domains is not None and when != "DoNotSchedule":
        text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
        found.append(invalid_value(f"{path}.minDomains", domains, text))
    found += [
        not_supported(f"{path}.{field}", constraint[field], _INCLUSIONS)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy")
        if constraint.get(field) not in (None, *_INCLUSIONS)
    ]
    found += label_keys.causes(constraint, path)
    return found + list(validation.label_selector(constraint.get("labelSelector"), f"{path}.labelSelector"))
