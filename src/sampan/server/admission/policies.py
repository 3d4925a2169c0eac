"""What validating and mutating admission policies share: which policies, bindings and parameters concern a request.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sampan.cel.environment import CompileError
from sampan.cel.program import Budget, Lazy, Program
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.kind import Kind
from sampan.kinds.parts import admission_expressions
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.meta import objects, selectors, status
from sampan.server.admission import expressions, matching, mutation
from sampan.server.admission.chain import Attributes, Lookup
from sampan.server.admission.matching import Match, Triple
from sampan.server.authz.authorizer import Authorizer
from sampan.server.cache import Item
from sampan.server.served import Served
from sampan.server.versions import Versions

_KEPT = 512

Tree = dict[str, Any]


class Misconfigured(Exception):
    """A policy or a binding cannot be used as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with what its expressions may name: `inputs`, and the programs of its variables."""

    tree: Tree
    inputs: Inputs
    variables: Mapping[str, Program]

    @property
    def name(self) -> str:
        return objects.name(self.tree)

    @property
    def spec(self) -> Tree:
        return self.tree.get("spec") or {}

    @property
    def failure_policy(self) -> str:
        return self.spec.get("failurePolicy") or "Fail"


@dataclass(frozen=True, slots=True)
class Invocation:
    """A policy that concerns the request, through a binding, with one of its parameters (None for none)."""

    policy: Policy
    binding: Tree
    match: Match
    params: Tree | None

    @property
    def key(self) -> str:
        return "/".join((self.policy.name, objects.name(self.binding), *objects.key(self.params or {})))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a policy could not be evaluated, to be held against the request if its failurePolicy is Fail."""

    policy: Policy
    binding: Tree | None
    text: str
    reason: str = "Invalid"


@dataclass(slots=True)
class Policies:
    """Finds policies of one kind, and gives their expressions what they may name."""

    kind: Kind
    binding_kind: Kind
    served: Served
    versions: Versions
    authorizer: Authorizer
    mutates: bool
    _known: dict[tuple[str, int], Policy]

    @classmethod
    def of(cls, kinds: tuple[Kind, Kind], served: Served, versions: Versions, authorizer: Authorizer) -> "Policies":
        """`kinds` are those of the policies and of their bindings."""
        return cls(*kinds, served, versions, authorizer, kinds[0].name.startswith("Mutating"), {})

    async def invocations(self, attributes: Attributes, lookup: Lookup) -> tuple[list[Invocation], list[Fault]]:
        """What concerns the request, ordered by names, and what is misconfigured. Raises ApiError."""
        bindings: dict[str, list[Tree]] = {}
        for item in lookup.all(self.binding_kind):
            bindings.setdefault((item.tree.get("spec") or {}).get("policyName") or "", []).append(item.tree)
        found: list[Invocation] = []
        faults: list[Fault] = []
        for item in lookup.all(self.kind) if bindings else ():
            bound = bindings.get(objects.name(item.tree))
            if not bound:
                continue
            policy = self._policy(item)
            constraints = policy.spec.get("matchConstraints") or {}
            match = matching.by_resources(constraints, attributes, lookup, self.served)
            if match is None:
                continue
            try:
                param_kind = self._param_kind(policy)
            except Misconfigured as error:
                faults.append(Fault(policy, None, f"failed to configure policy: {error}", "Forbidden"))
                continue
            for binding in bound:
                try:
                    found += await self._bound(policy, binding, (match, param_kind), attributes, lookup)
                except Misconfigured as error:
                    faults.append(Fault(policy, binding, f"failed to configure binding: {error}", "Forbidden"))
        return found, faults

    async def variables(self, attributes: Attributes, invocation: Invocation, namespace: Tree | None) -> dict[str, Any]:
        """What an invocation's expressions see, without `variables`."""
        trees = await mutation.seen(attributes, invocation.match, self.versions)
        made = expressions.request_variables(attributes, invocation.match, trees, self.authorizer)
        made["namespaceObject"] = namespace
        if invocation.policy.inputs.has_params:
            made["params"] = invocation.params
        return made

    def namespace(self, attributes: Attributes, lookup: Lookup) -> Tree | None:
        """`namespaceObject`: None for what has no namespace. Raises ApiError 404."""
        if not attributes.namespace or attributes.kind == NAMESPACE:
            return None
        return expressions.namespace_object(matching.namespace_tree(attributes.namespace, lookup))

    async def _bound(
        self, policy: Policy, binding: Tree, given: tuple[Match, Kind | None], attributes: Attributes, lookup: Lookup
    ) -> list[Invocation]:
        spec, (match, param_kind) = binding.get("spec") or {}, given
        if matching.by_resources(spec.get("matchResources"), attributes, lookup, self.served) is None:
            return []
        reference = spec.get("paramRef")
        if param_kind is None or reference is None:
            return [Invocation(policy, binding, match, None)]
        params = await self._params(param_kind, reference, attributes.namespace, lookup)
        if not params and reference.get("parameterNotFoundAction") == "Deny":
            raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [Invocation(policy, binding, match, one) for one in params]

    def _param_kind(self, policy: Policy) -> Kind | None:
        wanted = policy.spec.get("paramKind")
        if wanted is None:
            return None
        group, _, version = str(wanted.get("apiVersion") or "").rpartition("/")
        kind = self.served.by_kind(group, version, wanted.get("kind") or "")
        if kind is None or kind.not_stored:
            named = Triple(group, version, wanted.get("kind") or "")
            raise Misconfigured(f"failed to find resource referenced by paramKind: '{named}'")
        return kind

    async def _params(self, kind: Kind, reference: Tree, namespace: str, lookup: Lookup) -> list[Tree]:
        where = reference.get("namespace") or ""
        if kind.namespaced:
            where = where or namespace
            if not where:
                raise Misconfigured(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif where:
            raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        if name := reference.get("name"):
            item = lookup.get(kind, where, name)
            items: Sequence[Item] = [item] if item is not None else []
        else:
            selector = selectors.from_label_selector(reference.get("selector"))
            items = [item for item in lookup.all(kind, where) if selector.matches(item.labels)]
        views = await self.versions.views(kind, items)
        return [{**view.tree, "apiVersion": kind.api_version, "kind": kind.name} for view in views]

    def _policy(self, item: Item) -> Policy:
        key = item.key, item.revision
        policy = self._known.get(key)
        if policy is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            policy = self._known[key] = prepared(item.tree, mutates=self.mutates)
        return policy


def prepared(tree: Tree, *, mutates: bool) -> Policy:
    """A policy with its variables compiled, each seeing those before it."""
    spec = tree.get("spec") or {}
    inputs = Inputs(has_params=spec.get("paramKind") is not None, mutates=mutates)
    programs: dict[str, Program] = {}
    for variable in spec.get("variables") or ():
        name, source = variable["name"], variable["expression"]
        try:
            programs[name] = admission_expressions.compiled(source, inputs, ())
        except CompileError:
            continue
        inputs = admission_expressions.with_variable(inputs, name, source)
    return Policy(tree, inputs, programs)


def with_variables(policy: Policy, variables: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """The variables of a request with the policy's own, which are evaluated when they are first used."""
    if not policy.variables:
        return dict(variables)
    return {**variables, "variables": Lazy(policy.variables, variables, budget)}


def conditions_hold(policy: Policy, variables: Mapping[str, Any]) -> bool:
    """Whether all match conditions are true. Raises expressions.Failed when that cannot be told."""
    conditions = policy.spec.get("matchConditions") or ()
    if not conditions:
        return True
    inputs = replace(policy.inputs, variables=(), mutates=False)
    return expressions.conditions_hold(conditions, inputs, variables, policy.failure_policy)


def refused(attributes: Attributes, why: str, reason: str, code: int) -> status.ApiError:
    """A refusal by a policy: upstream's Forbidden, with another reason and code."""
    kind = attributes.kind
    error = status.forbidden(kind.group, kind.plural, attributes.name, why)
    made = {**error.status, "reason": reason, "code": code}
    made["details"] = {**made.get("details", {}), "causes": [{"message": why}]}
    return status.ApiError(made, error.headers)
