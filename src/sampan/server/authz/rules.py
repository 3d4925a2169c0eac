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

MAX_ASKED, MAX_NEAR = 4096, 1 << 15
"""So many questions are remembered, and so many rules for all of them."""
MAX_ASKED_LENGTH = 1024
"""Characters of all that is asked together, with the user's name and groups; longer questions are not remembered."""

_SERVICE_ACCOUNT = "system:serviceaccount:"


class Grant(NamedTuple):
    """One binding, as one subject has it: the role it names, and the subject as it stands there."""

    binding: ObjectKey
    role: ObjectKey
    subject: Tree


class Rules:
    """Roles by name, and by namespace the grants of each subject."""

    def __init__(self) -> None:
        self._roles: dict[ObjectKey, list[Tree]] = {}
        self._bindings: dict[ObjectKey, list[Subject]] = {}
        self._grants: dict[str, dict[Subject, dict[ObjectKey, Grant]]] = {}
        self._asked: dict[tuple[Any, ...], list[tuple[Grant, Tree]]] = {}
        self._near_count = 0

    @classmethod
    def from_objects(cls, roles: Iterable[Tree], bindings: Iterable[Tree]) -> "Rules":
        """The rules that these Roles, ClusterRoles and their bindings make."""
        rules = cls()
        for obj in (*roles, *bindings):
            rules.update(obj)
        return rules

    def continue_from(self, other: "Rules") -> None:
        """Knows what another one knew."""
        self._roles, self._bindings = dict(other._roles), dict(other._bindings)
        self._grants = {
            namespace: {subject: dict(grants) for subject, grants in here.items()}
            for namespace, here in other._grants.items()
        }

    def update(self, obj: Tree) -> None:
        """Takes in a new or changed role or binding; `obj` carries its kind."""
        self._forget_asked()
        key = (obj["kind"], *objects.key(obj))
        if obj["kind"] in {"Role", "ClusterRole"}:
            self._roles[key] = obj.get("rules") or []
            return
        self._unbind(key)
        role, namespace, subjects = _role_key(obj), objects.namespace(obj), obj.get("subjects") or ()
        here = self._grants.setdefault(namespace, {})
        bound = self._bindings[key] = [_subject(subject, namespace) for subject in subjects]
        for who, subject in zip(bound, subjects, strict=True):
            grant = Grant(key, role, subject)
            if who in here:
                here[who][key] = grant
            else:
                here[who] = {key: grant}

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Forgets a deleted role or binding."""
        self._forget_asked()
        key = (kind, namespace, name)
        self._roles.pop(key, None)
        self._unbind(key)

    def allowed(self, user: User, attributes: Attributes) -> Decision:
        """Whether any binding of the user's gives this; the reason names the first that does."""
        for grant, rule in self._near(user, attributes):
            if matching.allows(rule, attributes):
                return Decision(allowed=True, reason=_reason(grant))
        return DENIED

    def _near(self, user: User, attributes: Attributes) -> Iterable[tuple[Grant, Tree]]:
        """The user's rules that may give this, by all but the object's name; remembered until a rule or binding changes."""
        if not attributes.is_resource:
            return self.rules_of(user, attributes.namespace)
        # Namespaces in which nothing is bound are all alike.
        namespace = attributes.namespace if attributes.namespace in self._grants else ""
        asked = (
            user.name, user.groups, namespace,
            attributes.verb, attributes.group, attributes.resource, attributes.subresource,
        )  # fmt: skip
        near = self._asked.get(asked)
        if near is None:
            rules = self.rules_of(user, namespace)
            near = [each for each in rules if matching.allows_some(each[1], attributes)]
            said = (user.name, *user.groups, *asked[3:])
            if sum(map(len, said)) > MAX_ASKED_LENGTH:
                return near
            if len(self._asked) >= MAX_ASKED or self._near_count >= MAX_NEAR:
                self._forget_asked()
            self._asked[asked] = near
            self._near_count += len(near)
        return near

    def _forget_asked(self) -> None:
        self._asked.clear()
        self._near_count = 0

    def rules_of(self, user: User, namespace: str) -> Iterator[tuple[Grant, Tree]]:
        """Every rule the user has cluster-wide, then those in the namespace."""
        subjects = [("User", user.name), *[("Group", group) for group in user.groups]]
        for where in ("", namespace) if namespace else ("",):
            here = self._grants.get(where, {})
            for subject in [subject for subject in subjects if subject in here]:
                for grant in here[subject].values():
                    for rule in self._roles.get(grant.role, ()):
                        yield grant, rule

    def rules_of_role(self, reference: Tree, namespace: str) -> list[Tree] | None:
        """The rules of the role a binding names; None when there is no such role."""
        where = namespace if reference.get("kind") == "Role" else ""
        return self._roles.get((reference.get("kind", ""), where, reference.get("name", "")))

    def _unbind(self, key: ObjectKey) -> None:
        here = self._grants.get(key[1], {})
        for who in self._bindings.pop(key, ()):
            grants = here.get(who)
            if grants is not None:
                grants.pop(key, None)
                if not grants:
                    del here[who]
        if not here:
            self._grants.pop(key[1], None)


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
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if kind == "ServiceAccount":
        return "User", f"{_SERVICE_ACCOUNT}{subject.get('namespace') or namespace}:{name}"
    return kind, name


def _shown(subject: Tree, namespace: str) -> str:
    name = subject.get("name", "")
    if subject.get("kind") == "ServiceAccount":
        return f'ServiceAccount "{name}/{subject.get("namespace") or namespace}"'
    return f'{subject.get("kind", "")} "{name}"'


def _reason(grant: Grant) -> str:
    kind, namespace, name = grant.binding
    binding = f"{name}/{namespace}" if namespace else name
    role = f'{grant.role[0]} "{grant.role[2]}"'
    return f'RBAC: allowed by {kind} "{binding}" of {role} to {_shown(grant.subject, namespace)}'
