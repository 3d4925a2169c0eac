"""Which requests a webhook or an admission policy cares about: rules and selectors, their defaults and checks.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import names, validation
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required

GROUP = "admissionregistration.k8s.io"
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
MUTATING_OPERATIONS = ("*", "CONNECT", "CREATE", "UPDATE")
FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
_SCOPES = ("*", "Cluster", "Namespaced")

Causes = list[Cause]


def default_rules(rules: Iterable[Object]) -> None:
    """A rule is for every scope."""
    for rule in rules:
        if rule.get("scope") is None:
            rule["scope"] = "*"


def default_resources(match: Object) -> None:
    """matchConstraints or matchResources: equivalent versions, every namespace, every object."""
    if match.get("matchPolicy") is None:
        match["matchPolicy"] = "Equivalent"
    for selector in ("namespaceSelector", "objectSelector"):
        if match.get(selector) is None:
            match[selector] = {}
    default_rules(match.get("resourceRules") or ())
    default_rules(match.get("excludeResourceRules") or ())


def choice_causes(value: Any, field: str, choices: Sequence[str]) -> Causes:
    """A value that must be given, and be one of a few."""
    if value is None:
        return [required(field)]
    return [] if value in choices else [not_supported(field, value, choices)]


def resources_causes(match: Object, field: str) -> Causes:
    """What is wrong with matchConstraints or matchResources."""
    found = choice_causes(match.get("matchPolicy"), f"{field}.matchPolicy", MATCH_POLICIES)
    for name in ("namespaceSelector", "objectSelector"):
        if match.get(name) is None:
            found.append(required(f"{field}.{name}"))
        else:
            found += validation.label_selector(match[name], f"{field}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(name) or ()):
            where = f"{field}.{name}[{index}]"
            found += _resource_name_causes(rule.get("resourceNames") or (), f"{where}.resourceNames")
            found += rule_causes(rule, where)
    return found


def operation_causes(match: Object, field: str) -> Causes:
    """A mutating policy's rules name no deletions: there is nothing left to change."""
    return [
        not_supported(f"{field}.resourceRules.operations", operation, MUTATING_OPERATIONS)
        for rule in match.get("resourceRules") or ()
        for operation in rule.get("operations") or ()
        if operation not in MUTATING_OPERATIONS
    ]


def rule_causes(rule: Object, field: str) -> Causes:
    """What is wrong with one rule: operations, groups, versions, resources, scope."""
    found = _wildcard_list(rule, "operations", field, "if '*' is present, must not specify other operations")
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in OPERATIONS:
            found.append(not_supported(f"{field}.operations[{index}]", operation, OPERATIONS))
    found += _wildcard_list(rule, "apiGroups", field, "if '*' is present, must not specify other API groups")
    found += _wildcard_list(rule, "apiVersions", field, "if '*' is present, must not specify other API versions")
    for index, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            found.append(required(f"{field}.apiVersions[{index}]"))
    found += _resource_causes(rule.get("resources") or [], f"{field}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        found.append(not_supported(f"{field}.scope", scope, _SCOPES))
    return found


def _wildcard_list(rule: Object, name: str, field: str, alone: str) -> Causes:
    values = rule.get(name) or []
    if not values:
        return [required(f"{field}.{name}")]
    return [invalid_value(f"{field}.{name}", values, alone)] if len(values) > 1 and "*" in values else []


def _resource_name_causes(given: Iterable[str], field: str) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    for index, name in enumerate(given):
        found += validation.each(f"{field}[{index}]", name, names.path_segment(name))
        if name in seen:
            found.append(duplicate(f"{field}[{index}]", name))
        seen.add(name)
    return found


def _resource_causes(resources: list[str], field: str) -> Causes:
    found: Causes = [] if resources else [required(field)]
    whole: set[str] = set()  # x of x/*
    everywhere: set[str] = set()  # y of */y
    has_plain = False
    for index, entry in enumerate(resources):
        where = f"{field}[{index}]"
        if not entry:
            found.append(required(where))
            continue
        resource, slash, sub = entry.partition("/")
        if not slash:
            has_plain = entry != "*"
            continue
        if resource in whole:
            found.append(invalid_value(where, entry, f"if '{resource}/*' is present, must not specify {entry}"))
        if sub in everywhere:
            found.append(invalid_value(where, entry, f"if '*/{sub}' is present, must not specify {entry}"))
        whole |= {resource} if sub == "*" else set()
        everywhere |= {sub} if resource == "*" else set()
    if len(resources) > 1 and "*/*" in resources:
        found.append(invalid_value(field, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and has_plain:
        why = "if '*' is present, must not specify other resources without subresources"
        found.append(invalid_value(field, resources, why))
    return found
