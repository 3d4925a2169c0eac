"""Escalation: nobody grants by a role or a binding what they do not have themselves.

The verb `escalate` on the role, or `bind` on the role that a binding names, lifts this.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sampan.kinds.kind import Kind
from sampan.meta import objects, status
from sampan.server.authz import matching
from sampan.server.authz.decision import Attributes, Decision
from sampan.server.authz.rules import Rules
from sampan.server.identity import MASTERS_GROUP, User

Tree = dict[str, Any]

_GROUP = "rbac.authorization.k8s.io"
_EVERYTHING: tuple[Tree, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class Judge(Protocol):
    """The authorizer, as far as escalation needs it."""

    rules: Rules

    def authorize(self, user: User, attributes: Attributes) -> Decision: ...

    def rules_held(self, user: User, namespace: str) -> list[Tree]: ...


def check(judge: Judge, user: User, kind: Kind, new: Tree, old: Tree | None) -> None:
    """Raises ApiError 403 when a role or binding being written would give more than its writer has."""
    if MASTERS_GROUP in user.groups:
        return
    is_role = kind.name in {"Role", "ClusterRole"}
    wanted = _role_grants(new, old) if is_role else _binding_grants(judge, new, old)
    if not wanted or _is_exempt(judge, user, new, is_role=is_role):
        return
    held = judge.rules_held(user, objects.namespace(new))
    if why := refusal(user, held, wanted):
        raise status.forbidden(_GROUP, kind.plural, objects.name(new), why)


def refusal(user: User, held: Sequence[Tree], wanted: Iterable[Tree]) -> str:
    """Why these rules may not be granted by a user who holds those; "" when they may."""
    missing = matching.compact(matching.uncovered(held, wanted))
    if not missing:
        return ""
    groups = " ".join(f'"{group}"' for group in user.groups)
    shown = "\n".join(matching.show(rule) for rule in missing)
    return (
        f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{shown}'
    )


def _role_grants(new: Tree, old: Tree | None) -> list[Tree]:
    """What a role newly gives; one that aggregates others may come to give anything."""
    aggregates = new.get("aggregationRule")
    if aggregates and (old is None or old.get("aggregationRule") != aggregates):
        return list(_EVERYTHING)
    rules = new.get("rules") or []
    return [] if old is not None and (old.get("rules") or []) == rules else rules


def _binding_grants(judge: Judge, new: Tree, old: Tree | None) -> list[Tree]:
    """What the role of a new or changed binding gives."""
    reference = new.get("roleRef") or {}
    same = ("roleRef", "subjects")
    if old is not None and all(old.get(field) == new.get(field) for field in same):
        return []
    return judge.rules.rules_of_role(reference, objects.namespace(new)) or list(_EVERYTHING)


def _is_exempt(judge: Judge, user: User, new: Tree, *, is_role: bool) -> bool:
    """Whether the user may escalate this role, or bind the role that the binding names."""
    if is_role:
        kind, name, verb = new.get("kind"), objects.name(new), "escalate"
    else:
        reference = new.get("roleRef") or {}
        kind, name, verb = reference.get("kind"), reference.get("name", ""), "bind"
    plural = "clusterroles" if kind == "ClusterRole" else "roles"
    asked = Attributes(verb, _GROUP, plural, namespace=objects.namespace(new), name=name)
    return judge.authorize(user, asked).allowed
