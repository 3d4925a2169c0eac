"""Words for RBAC rules and subjects, so that the default roles read as a table."""

from typing import Any

Rule = dict[str, Any]
Subject = dict[str, str]

API_GROUP = "rbac.authorization.k8s.io"


def allow(verbs: str, group: str, resources: str, names: str = "") -> Rule:
    """A rule from words; `group` "core" is the empty one, several stand apart by a space."""
    groups = ["" if g == "core" else g for g in group.split()]
    rule: Rule = {"verbs": sorted(verbs.split()), "apiGroups": groups, "resources": sorted(resources.split())}
    if names:
        rule["resourceNames"] = names.split()
    return rule


def urls(verbs: str, paths: str) -> Rule:
    """A rule about URLs that are no resources."""
    return {"verbs": verbs.split(), "nonResourceURLs": paths.split()}


def user(name: str) -> Subject:
    """A user, as a subject."""
    return {"apiGroup": API_GROUP, "kind": "User", "name": name}


def group(name: str) -> Subject:
    """A group, as a subject."""
    return {"apiGroup": API_GROUP, "kind": "Group", "name": name}


def service_account(namespace: str, name: str) -> Subject:
    """A service account, as a subject."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
