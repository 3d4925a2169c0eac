"""Matching: whether one RBAC rule gives one request, and whether rules cover other rules.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from sampan.server.authz.decision import Attributes

Tree = dict[str, Any]


def allows(rule: Tree, attributes: Attributes) -> bool:
    """Whether the rule gives what is asked."""
    names = rule.get("resourceNames")
    if attributes.is_resource and names and attributes.name not in names:
        return False
    return allows_some(rule, attributes)


def allows_some(rule: Tree, attributes: Attributes) -> bool:
    """Whether the rule gives what is asked for some name."""
    verbs = rule.get("verbs") or ()
    if attributes.verb not in verbs and "*" not in verbs:
        return False
    if not attributes.is_resource:
        return any(_path_matches(pattern, attributes.path) for pattern in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if attributes.group not in groups and "*" not in groups:
        return False
    return _resource_matches(rule.get("resources") or (), attributes.full_resource, attributes.subresource)


def uncovered(owned: Sequence[Tree], wanted: Iterable[Tree]) -> list[Tree]:
    """The parts of the wanted rules that no owned rule covers, one verb and resource each."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(have, part) for have in owned)]


def compact(rules: Iterable[Tree]) -> list[Tree]:
    """Rules that differ only in their verb, joined; in a fixed order."""
    joined: dict[tuple[tuple[str, tuple[str, ...]], ...], Tree] = {}
    for rule in rules:
        key = tuple((name, tuple(values)) for name, values in rule.items() if name != "verbs")
        if key in joined:
            joined[key]["verbs"] += [verb for verb in rule["verbs"] if verb not in joined[key]["verbs"]]
        else:
            joined[key] = {**rule, "verbs": list(rule["verbs"])}
    return sorted(joined.values(), key=show)


def show(rule: Tree) -> str:
    """A rule as escalation messages have it: {APIGroups:[""], Resources:["pods"], Verbs:["get"]}."""
    labels = (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("verbs", "Verbs"),
    )
    shown = [_labelled(label, rule[name]) for name, label in labels if rule.get(name)]
    return "{" + ", ".join(shown) + "}"


def _labelled(label: str, values: Iterable[str]) -> str:
    quoted = ", ".join(f'"{value}"' for value in values)
    return f"{label}:[{quoted}]"


def _parts(rule: Tree) -> Iterable[Tree]:
    verbs = rule.get("verbs") or ()
    for group, resource, verb in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        part = {"apiGroups": [group], "resources": [resource]}
        names = rule.get("resourceNames") or ()
        yield from ({**part, "resourceNames": [name], "verbs": [verb]} for name in names)
        if not names:
            yield {**part, "verbs": [verb]}
    for url, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(have: Tree, part: Tree) -> bool:
    verbs = have.get("verbs") or ()
    if "*" not in verbs and part["verbs"][0] not in verbs:
        return False
    if "nonResourceURLs" in part:
        url = part["nonResourceURLs"][0]
        return any(_path_covers(pattern, url) for pattern in have.get("nonResourceURLs") or ())
    groups, names = have.get("apiGroups") or (), have.get("resourceNames")
    if "*" not in groups and part["apiGroups"][0] not in groups:
        return False
    if names and (part.get("resourceNames") or [""])[0] not in names:
        return False
    resource = part["resources"][0]
    return _resource_matches(have.get("resources") or (), resource, resource.partition("/")[2])


def _resource_matches(resources: Sequence[str], wanted: str, subresource: str) -> bool:
    if "*" in resources or wanted in resources:
        return True
    return bool(subresource) and f"*/{subresource}" in resources


def _path_matches(pattern: str, path: str) -> bool:
    if pattern in {"*", path}:
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


def _path_covers(pattern: str, wanted: str) -> bool:
    if pattern in {"*", wanted}:
        return True
    return pattern.endswith("*") and wanted.rstrip("*").startswith(pattern.rstrip("*"))
