"""Rules: RBAC, decided from roles and bindings held in memory, by subject.

Pure values in, decisions out; `update` and `remove` keep them true object by object, so that no request
ever scans all bindings.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sampan.meta import objects
from sampan.server.authz import matching
from sampan.server.authz.decision import DENIED, Attributes, Decision
from sampan.server.identity import User

Tree = dict[str, Any]
Subject = tuple[str, str]
ObjectKey = tuple[str, str, str]

_SERVICE_ACCOUNT = "system:serviceaccount:"


class Grant(NamedTuple):
    """One binding, as one subject has it: the role it names, and the words for who gave it."""

    binding: ObjectKey
    role: ObjectKey
    subject: str


class Rules:
    """Roles by name and grants by (namespace, subject)."""

    def __init__(self) -> None:
        self._roles: dict[ObjectKey, list[Tree]] = {}
        self._bindings: dict[ObjectKey, list[tuple[str, Subject]]] = {}
        self._grants: dict[tuple[str, Subject], dict[ObjectKey, Grant]] = {}

    @classmethod
    def from_objects(cls, roles: Iterable[Tree], bindings: Iterable[Tree]) -> "Rules":
        """The rules that these Roles, ClusterRoles and their bindings make."""
        rules = cls()
        for obj in (*roles, *bindings):
            rules.update(obj)
        return rules

    def update(self, obj: Tree) -> None:
        """Takes in a new or changed role or binding; `obj` carries its kind."""
        key = (obj["kind"], *objects.key(obj))
        if obj["kind"] in {"Role", "ClusterRole"}:
            self._roles[key] = obj.get("rules") or []
            return
        self._unbind(key)
        role = _role_key(obj)
        entries = []
        for subject in obj.get("subjects") or ():
            who = _subject(subject, objects.namespace(obj))
            place = (objects.namespace(obj), who)
            self._grants.setdefault(place, {})[key] = Grant(key, role, _shown(subject, objects.namespace(obj)))
            entries.append(place)
        self._bindings[key] = entries

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Forgets a deleted role or binding."""
        key = (kind, namespace, name)
        self._roles.pop(key, None)
        self._unbind(key)

    def allowed(self, user: User, attributes: Attributes) -> Decision:
        """Whether any binding of the user's gives this; the reason names the first that does."""
        for grant, rule in self.rules_of(user, attributes.namespace):
            if matching.allows(rule, attributes):
                return Decision(allowed=True, reason=_reason(grant))
        return DENIED

    def rules_of(self, user: User, namespace: str) -> Iterator[tuple[Grant, Tree]]:
        """Every rule the user has cluster-wide, then those in the namespace."""
        subjects = [("User", user.name), *(("Group", group) for group in user.groups)]
        for where in ("", namespace) if namespace else ("",):
            for subject in subjects:
                for grant in self._grants.get((where, subject), {}).values():
                    for rule in self._roles.get(grant.role, ()):
                        yield grant, rule

    def rules_of_role(self, reference: Tree, namespace: str) -> list[Tree] | None:
        """The rules of the role a binding names; None when there is no such role."""
        where = namespace if reference.get("kind") == "Role" else ""
        return self._roles.get((reference.get("kind", ""), where, reference.get("name", "")))

    def _unbind(self, key: ObjectKey) -> None:
        for place in self._bindings.pop(key, ()):
            grants = self._grants.get(place)
            if grants is not None:
                grants.pop(key, None)
                if not grants:
                    del self._grants[place]


def summary(rules: Iterable[Tree]) -> tuple[list[Tree], list[Tree]]:
    """Resource rules and path rules as a SelfSubjectRulesReview lists them."""
    resources: list[Tree] = []
    paths: list[Tree] = []
    for rule in rules:
        if rule.get("resources"):
            shown = {k: rule[k] for k in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(k)}
            resources.append(shown)
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": rule.get("verbs") or [], "nonResourceURLs": rule["nonResourceURLs"]})
    return resources, paths


def _role_key(binding: Tree) -> ObjectKey:
    reference = binding.get("roleRef") or {}
    kind = reference.get("kind", "")
    return kind, objects.namespace(binding) if kind == "Role" else "", reference.get("name", "")


def _subject(subject: Tree, namespace: str) -> Subject:
    if subject.get("kind") == "ServiceAccount":
        return "User", f"{_SERVICE_ACCOUNT}{subject.get('namespace') or namespace}:{subject.get('name', '')}"
    return subject.get("kind", ""), subject.get("name", "")


def _shown(subject: Tree, namespace: str) -> str:
    name = subject.get("name", "")
    if subject.get("kind") == "ServiceAccount":
        return f'ServiceAccount "{name}/{subject.get("namespace") or namespace}"'
    return f'{subject.get("kind", "")} "{name}"'


def _reason(grant: Grant) -> str:
    kind, namespace, name = grant.binding
    binding = f"{name}/{namespace}" if namespace else name
    role = f'{grant.role[0]} "{grant.role[2]}"'
    return f'RBAC: allowed by {kind} "{binding}" of {role} to {grant.subject}'
