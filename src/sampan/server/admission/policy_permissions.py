"""Who writes a policy with parameters must be allowed to read them: else a policy would read for its author.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#parameter-resources
"""

from typing import Any

from sampan.kinds.admissionregistration.mutating_admission_policy import MUTATING_ADMISSION_POLICY
from sampan.kinds.admissionregistration.mutating_admission_policy_binding import MUTATING_ADMISSION_POLICY_BINDING
from sampan.kinds.admissionregistration.validating_admission_policy import VALIDATING_ADMISSION_POLICY
from sampan.kinds.admissionregistration.validating_admission_policy_binding import (
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup
from sampan.server.authz import decision
from sampan.server.authz.authorizer import Authorizer
from sampan.server.identity import MASTERS_GROUP, User
from sampan.server.served import Served

_POLICIES = (VALIDATING_ADMISSION_POLICY, MUTATING_ADMISSION_POLICY)
_BINDINGS = {
    VALIDATING_ADMISSION_POLICY_BINDING: VALIDATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING: MUTATING_ADMISSION_POLICY,
}

Tree = dict[str, Any]


class PolicyPermissions:
    """The plugin."""

    CONCERNS = Concern(operations=(CREATE, UPDATE), kinds=(*_POLICIES, *_BINDINGS))

    def __init__(self, served: Served, authorizer: Authorizer) -> None:
        self._served, self._authorizer = served, authorizer

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 422 for parameters that the writer may not read."""
        obj = attributes.obj
        if attributes.subresource or obj is None:
            return
        if MASTERS_GROUP in attributes.user.groups:
            return
        if attributes.kind in _POLICIES:
            self._policy(attributes, obj.get("spec") or {}, (attributes.old or {}).get("spec") or {})
        else:
            self._binding(attributes, lookup)

    def _policy(self, attributes: Attributes, spec: Tree, before: Tree) -> None:
        kind = spec.get("paramKind")
        if kind is None or kind == before.get("paramKind"):
            return
        if not self._may(attributes.user, self._resource(kind), ("*", "*")):
            why = (
                f'user {_shown(attributes.user)} must have "get" permission on all objects of the referenced '
                f"paramKind (kind={kind.get('kind', '')}, apiVersion={kind.get('apiVersion', '')})"
            )
            raise _refused(attributes, "spec.paramKind", why)

    def _binding(self, attributes: Attributes, lookup: Lookup) -> None:
        spec = (attributes.obj or {}).get("spec") or {}
        before = (attributes.old or {}).get("spec") or {}
        reference = spec.get("paramRef")
        if reference is None or all(spec.get(name) == before.get(name) for name in ("paramRef", "policyName")):
            return
        policy = lookup.get(_BINDINGS[attributes.kind], "", spec.get("policyName") or "")
        kind = objects.get_path(policy.tree, "spec.paramKind") if policy is not None else None
        resource = ("*", "*") if kind is None else self._resource(kind)
        where = reference.get("namespace") or "", reference.get("name") or ""
        if not self._may(attributes.user, resource, where):
            why = f'user {_shown(attributes.user)} does not have "get" permission on the object referenced by paramRef'
            raise _refused(attributes, "spec.paramRef", why)

    def _resource(self, param_kind: Tree) -> tuple[str, str]:
        """(group, resource) of a kind; every resource of the group when nobody serves the kind."""
        group, _, version = str(param_kind.get("apiVersion") or "").rpartition("/")
        kind = self._served.by_kind(group, version, param_kind.get("kind") or "")
        return group, "*" if kind is None else kind.plural

    def _may(self, user: User, resource: tuple[str, str], where: tuple[str, str]) -> bool:
        (group, plural), (namespace, name) = resource, where
        asked = decision.Attributes(verb="get", group=group, resource=plural, namespace=namespace, name=name)
        return self._authorizer.authorize(user, asked).allowed


def _refused(attributes: Attributes, field: str, why: str) -> status.ApiError:
    kind = attributes.kind
    return status.invalid(kind.group, kind.name, attributes.name, [status.forbidden_field(field, why)])


def _shown(user: User) -> str:
    """A user as the reference server prints it, which is how Go would."""
    extra = " ".join(f"{key}:[{' '.join(values)}]" for key, values in sorted(user.extra.items()))
    return f"&{{{user.name} {user.uid} [{' '.join(user.groups)}] map[{extra}]}}"
