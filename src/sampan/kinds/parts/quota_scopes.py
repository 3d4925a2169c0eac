"""Scopes of a quota: which of a namespace's objects it is about.

https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_resources, resource_names
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value, required

TERMINATING, NOT_TERMINATING = "Terminating", "NotTerminating"
BEST_EFFORT, NOT_BEST_EFFORT = "BestEffort", "NotBestEffort"
PRIORITY_CLASS, CROSS_NAMESPACE = "PriorityClass", "CrossNamespacePodAffinity"
ATTRIBUTES_CLASS = "VolumeAttributesClass"
_ALL = (
    TERMINATING,
    NOT_TERMINATING,
    BEST_EFFORT,
    NOT_BEST_EFFORT,
    PRIORITY_CLASS,
    CROSS_NAMESPACE,
    ATTRIBUTES_CLASS,
)
_ONLY_EXISTS = (TERMINATING, NOT_TERMINATING, BEST_EFFORT, NOT_BEST_EFFORT, CROSS_NAMESPACE)
_PAIRS = ((BEST_EFFORT, NOT_BEST_EFFORT), (TERMINATING, NOT_TERMINATING))
_POD_RESOURCES = frozenset(
    ("pods", *(p + n for n in resource_names.COMPUTE for p in ("", resource_names.REQUESTS, resource_names.LIMITS)))
)
_CLAIM_RESOURCES = frozenset(("persistentvolumeclaims", "requests.storage"))

Spec = Mapping[str, Any]
Term = Mapping[str, Any]


def terms(spec: Spec) -> list[Term]:
    """A quota's scopes as terms of one form: {scopeName, operator, values}."""
    listed: list[Term] = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return listed + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def select_pod(spec: Spec, pod: Object) -> bool:
    """Whether a quota is about this pod."""
    return all(_pod_matches(term, pod) for term in terms(spec))


def select_claim(spec: Spec, claim: Object) -> bool:
    """Whether a quota is about this claim."""
    return all(_claim_matches(term, claim) for term in terms(spec))


def select_other(spec: Spec, obj: Object) -> bool:
    """Whether a quota is about an object of any other kind: scopes are about pods and claims only."""
    return not terms(spec)


def matching(wanted: Iterable[Term], obj: Object, *, is_pod: bool) -> list[Term]:
    """Those of the terms that are about this pod, or this claim."""
    return [term for term in wanted if (_pod_matches if is_pod else _claim_matches)(term, obj)]


def _pod_matches(term: Term, pod: Object) -> bool:
    spec = pod.get("spec") or {}
    match term.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return pod_resources.qos_class(spec) == BEST_EFFORT
        case "NotBestEffort":
            return pod_resources.qos_class(spec) != BEST_EFFORT
        case "PriorityClass":
            return _value_matches(term, spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _reaches_out(spec.get("affinity") or {})
    return False


def classes(claim: Object) -> tuple[str, ...]:
    """The volume attributes classes that a claim wants, has, or is on its way to."""
    paths = (
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    )
    names = [objects.get_path(claim, path) or "" for path in paths]
    return tuple(dict.fromkeys(filter(None, names)))


def _claim_matches(term: Term, claim: Object) -> bool:
    if term.get("scopeName") != ATTRIBUTES_CLASS:
        return False
    return any(_value_matches(term, name) for name in classes(claim) or ("",))


def _value_matches(term: Term, value: str) -> bool:
    values = term.get("values") or ()
    match term.get("operator"):
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case "In":
            return bool(value) and value in values
        case "NotIn":
            return value not in values
    return False


def _reaches_out(affinity: Mapping[str, Any]) -> bool:
    """Whether a term of pod (anti-)affinity names other namespaces."""
    for name in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(name) or {}
        required_terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        weighted = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        found = [*required_terms, *(w.get("podAffinityTerm") or {} for w in weighted)]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in found):
            return True
    return False


def causes(spec: Spec) -> list[Cause]:
    """What is wrong with a quota's scopes."""
    scopes = list(spec.get("scopes") or ())
    hard = list(spec.get("hard") or ())
    found: list[Cause] = []
    for scope in scopes:
        if scope not in _ALL:
            found.append(invalid_value("spec.scopes", scopes, "unsupported scope"))
        if not _fits(scope, hard):
            found.append(invalid_value("spec.scopes", scopes, "unsupported scope applied to resource"))
    found += _conflicts(scopes, "spec.scopes", scopes)
    selector = spec.get("scopeSelector")
    if selector is None:
        return found
    path = "spec.scopeSelector.matchExpressions"
    expressions = selector.get("matchExpressions") or ()
    for term in expressions:
        found += _term_causes(term, path)
        if not _fits(term.get("scopeName") or "", hard):
            found.append(invalid_value(path, selector, "unsupported scope applied to resource"))
    return found + _conflicts([t.get("scopeName") for t in expressions], path, scopes)


def _conflicts(scopes: Iterable[Any], path: str, shown: list[str]) -> list[Cause]:
    has = set(scopes)
    return [invalid_value(path, shown, "conflicting scopes") for pair in _PAIRS if has.issuperset(pair)]


def _fits(scope: str, hard: Iterable[str]) -> bool:
    """Whether all that the quota limits can have the scope."""
    standard = {name for name in hard if resource_names.is_standard_quota(name)}
    if scope == BEST_EFFORT:
        return standard <= {"pods"}
    if scope == ATTRIBUTES_CLASS:
        return standard <= _CLAIM_RESOURCES
    return scope not in _ALL or standard <= _POD_RESOURCES


def _term_causes(term: Term, path: str) -> list[Cause]:
    found = []
    scope, operator, values = term.get("scopeName") or "", term.get("operator") or "", term.get("values") or []
    if scope not in _ALL:
        found.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
    if scope in _ONLY_EXISTS and operator != "Exists":
        text = (
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
            "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
            "ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        found.append(invalid_value(f"{path}.operator", operator, text))
    if operator in ("In", "NotIn"):
        if not values:
            text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            found.append(required(f"{path}.values", text))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            found.append(invalid_value(f"{path}.values", values, text))
    else:
        found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    return found
