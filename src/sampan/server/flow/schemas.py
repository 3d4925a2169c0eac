"""Schemas: which FlowSchema a request belongs to: the first whose rules match, by precedence. Pure.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#flowschema
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects
from sampan.server.identity import SERVICE_ACCOUNTS_GROUP, User
from sampan.server.request_info import RequestInfo

Tree = dict[str, Any]

LAST_PRECEDENCE = 10_000
EXEMPT, CATCH_ALL = "exempt", "catch-all"


@dataclass(frozen=True, slots=True)
class Schema:
    """A FlowSchema as classification needs it. `flow_by` is ByUser, ByNamespace or ""."""

    name: str
    uid: str
    level: str
    precedence: int
    flow_by: str
    rules: tuple[Tree, ...]

    def matches(self, user: User, info: RequestInfo) -> bool:
        """Whether one of the rules is about this user and this request."""
        return any(_is_about(rule, info) and _names(rule, user) for rule in self.rules)

    @property
    def namespaces(self) -> Iterator[str]:
        """Those that its rules name."""
        for rule in self.rules:
            for each in rule.get("resourceRules") or ():
                yield from each.get("namespaces") or ()

    def flow(self, user: User, info: RequestInfo) -> str:
        """What tells this request's flow from the others of the schema."""
        if self.flow_by == "ByUser":
            return user.name
        return info.namespace if self.flow_by == "ByNamespace" else ""


def of(tree: Tree) -> Schema:
    """The schema that a stored FlowSchema stands for."""
    spec = tree.get("spec") or {}
    return Schema(
        name=objects.name(tree),
        uid=objects.uid(tree),
        level=(spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        precedence=spec.get("matchingPrecedence") or 1000,
        flow_by=(spec.get("distinguisherMethod") or {}).get("type", ""),
        rules=tuple(spec.get("rules") or ()),
    )


def ordered(schemas: Iterable[Schema]) -> tuple[Schema, ...]:
    """In the order in which they are asked; the last one takes everything."""
    return (*sorted(schemas, key=lambda s: (s.precedence, s.name)), _EVERYTHING)


_ANYTHING: Tree = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}
_EVERYTHING = Schema(
    CATCH_ALL,
    "",
    CATCH_ALL,
    LAST_PRECEDENCE,
    "ByUser",
    ({**_ANYTHING, "subjects": [{"kind": "User", "user": {"name": "*"}}]},),
)
MASTERS = Schema(
    EXEMPT,
    "",
    EXEMPT,
    1,
    "",
    ({**_ANYTHING, "subjects": [{"kind": "Group", "group": {"name": "system:masters"}}]},),
)


def _names(rule: Tree, user: User) -> bool:
    for subject in rule.get("subjects") or ():
        match subject.get("kind"):
            case "User" if (subject.get("user") or {}).get("name") in ("*", user.name):
                return True
            case "Group" if (name := (subject.get("group") or {}).get("name")) == "*" or name in user.groups:
                return True
            case "ServiceAccount" if _is_account(subject.get("serviceAccount") or {}, user):
                return True
    return False


def _is_account(account: Tree, user: User) -> bool:
    namespace, name = account.get("namespace", ""), account.get("name", "")
    if name == "*":
        return f"{SERVICE_ACCOUNTS_GROUP}:{namespace}" in user.groups
    return user.name == f"system:serviceaccount:{namespace}:{name}"


def _is_about(rule: Tree, info: RequestInfo) -> bool:
    if not info.is_resource:
        return any(
            _has(each.get("verbs"), info.verb) and any(_url(u, info.path) for u in each.get("nonResourceURLs") or ())
            for each in rule.get("nonResourceRules") or ()
        )
    return any(_covers(each, info) for each in rule.get("resourceRules") or ())


def _covers(rule: Tree, info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (_has(rule.get("verbs"), info.verb) and _has(rule.get("apiGroups"), info.group)):
        return False
    if not _has(rule.get("resources"), resource):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces"), info.namespace)


def _has(values: list[str] | None, value: str) -> bool:
    return values is not None and ("*" in values or value in values)


def _url(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("/*") and path.startswith(pattern[:-1])
