"""MutatingAdmissionPolicies: changes in CEL, as an applied configuration or as a JSON patch.

They come before the mutating webhooks, in the order of the policies' and bindings' names.

https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from typing import Any

from sampan.cel import types
from sampan.cel.program import Budget, BudgetExceeded
from sampan.kinds import builtin
from sampan.kinds.admissionregistration.mutating_admission_policy import MUTATING_ADMISSION_POLICY
from sampan.kinds.admissionregistration.mutating_admission_policy_binding import MUTATING_ADMISSION_POLICY_BINDING
from sampan.kinds.parts import admission_expressions
from sampan.meta import objects, schema, status
from sampan.meta.apply import checking, merging
from sampan.meta.patch import json_patch
from sampan.server import aside
from sampan.server.admission import expressions, matching, mutation, policies, reinvocation
from sampan.server.admission.chain import Attributes, Concern, Lookup
from sampan.server.admission.matching import Match
from sampan.server.admission.policies import Fault, Invocation, Policies, Policy
from sampan.server.authz.authorizer import Authorizer
from sampan.server.served import Served
from sampan.server.versions import Versions

_PLUGIN = "MutatingAdmissionPolicy"
_FIELDS = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}

Tree = dict[str, Any]


class MutatingPolicies:
    """The plugin."""

    CONCERNS = Concern(needs=(MUTATING_ADMISSION_POLICY_BINDING,))

    def __init__(self, served: Served, versions: Versions, authorizer: Authorizer) -> None:
        kinds = (MUTATING_ADMISSION_POLICY, MUTATING_ADMISSION_POLICY_BINDING)
        self._policies = Policies.of(kinds, served, versions, authorizer)

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """Changes the object as the policies say. Raises ApiError when one of them cannot be carried out."""
        if attributes.obj is None or matching.is_exempt_from_policies(attributes):
            return
        invocations, faults = await self._policies.invocations(attributes, lookup)
        if invocations:
            again = reinvocation.of(attributes, _PLUGIN)
            again.begin(attributes)
            namespace = self._policies.namespace(attributes, lookup)
            for invocation in invocations:
                faults += await self._invoke(invocation, attributes, namespace, again)
            again.end(attributes)
        counted = [fault for fault in faults if fault.policy.failure_policy != "Ignore"]
        if counted:
            raise _refusal(attributes, counted)

    async def _invoke(
        self, invocation: Invocation, attributes: Attributes, namespace: Tree | None, again: reinvocation.Reinvocation
    ) -> list[Fault]:
        """One policy's turn, all of its mutations in order; what went wrong."""
        policy = invocation.policy
        variables = await self._policies.variables(attributes, invocation, namespace)
        try:
            if not await aside.run(policies.conditions_hold, policy, variables):
                return []
        except expressions.Failed as error:
            return [Fault(policy, invocation.binding, str(error))]
        if not again.may_run(attributes, invocation.key):
            return []
        faults: list[Fault] = []
        changed = False
        for rule in policy.spec.get("mutations") or ():
            try:
                variables = await self._policies.variables(attributes, invocation, namespace)
                changed |= await self._mutate(rule, invocation, attributes, variables)
            except (expressions.Failed, BudgetExceeded) as error:
                faults.append(Fault(policy, invocation.binding, str(error)))
        if changed:
            again.changed()
            attributes.again = True
        again.ran(invocation.key, policy.spec.get("reinvocationPolicy"))
        return faults

    async def _mutate(
        self, rule: Tree, invocation: Invocation, attributes: Attributes, variables: dict[str, Any]
    ) -> bool:
        """One mutation; whether it changed the object. Raises Failed, BudgetExceeded or ApiError."""
        policy, kind = invocation.policy, rule["patchType"]
        source = rule[_FIELDS[kind]]["expression"].strip()
        made = await aside.run(_made, source, policy, variables, admission_expressions.MUTATION_RESULTS[kind])
        shown: Tree = variables["object"]
        if kind == "JSONPatch":
            patched = _json_patched(shown, made)
        else:
            patched = _applied(shown, made, self._type(attributes, invocation.match))
        served, versions = self._policies.served, self._policies.versions
        return mutation.take(
            attributes, await mutation.settled(patched, attributes, invocation.match, served, versions)
        )

    def _type(self, attributes: Attributes, match: Match) -> schema.Type:
        """The shape of what is changed, in the version that was matched."""
        if attributes.body_kind:
            body = builtin.body(match.kind.group, match.kind.name)
            return body.type if body is not None and body.schema else schema.ANY
        kind = self._policies.served.find(match.resource.group, match.resource.version, match.resource.name)
        return (kind or attributes.kind).type


def _made(source: str, policy: Policy, variables: dict[str, Any], results: tuple[types.Type, ...]) -> Any:
    """What a mutation's expression gives. Raises Failed or BudgetExceeded."""
    budget = Budget()
    known = policies.with_variables(policy, variables, budget)
    return expressions.evaluate(source, policy.inputs, results, known, budget)


def _applied(live: Tree, config: Any, type: schema.Type) -> Tree:
    """The object with the configuration merged into it. Raises Failed."""
    if not isinstance(config, dict):
        raise expressions.Failed("unsupported return type from ApplyConfiguration expression")
    config = {**config, **{name: live[name] for name in ("apiVersion", "kind") if name in live}}
    try:
        checking.check(config, type)
    except status.ApiError as error:
        why = str(error).partition("): ")[2] or str(error)
        raise expressions.Failed(
            f"error applying patch: failed to convert patch object to typed object: {why}"
        ) from error
    atomics = _atomics(config, type, "")
    if atomics:
        why = f"may not mutate atomic arrays, maps or structs: {', '.join(atomics)}"
        raise expressions.Failed(f"error applying patch: invalid ApplyConfiguration: {why}")
    merged: Tree = merging.merge(live, config, type)
    return merged


def _atomics(value: Any, type: schema.Type, path: str) -> list[str]:
    """Paths of lists and maps that could only be replaced as a whole, and would lose what is not said."""
    found: list[str] = []
    if isinstance(value, dict) and type.kind in ("object", "map"):
        if type.map_type == "atomic":
            found.append(path)
        for name, child in value.items():
            below = type.fields.get(name) if type.kind == "object" else type.items
            if below is not None:
                found += _atomics(child, below, f"{path}.{name}")
    elif isinstance(value, list) and type.kind == "array":
        if type.list_type == "atomic":
            found.append(path)
        for index, child in enumerate(value):
            found += _atomics(child, type.items, f"{path}[{index}]")
    return found


def _json_patched(live: Tree, operations: Any) -> Tree:
    """The object after the operations; as it was when a test among them fails. Raises Failed."""
    tree: Any = objects.copy(live)
    for operation in operations or ():
        one = {name: value for name, value in operation.items() if name != "from" or value}
        try:
            tree = json_patch.apply(tree, [one])
        except status.ApiError as error:
            if one.get("op") == "test":
                return objects.copy(live)  # type: ignore[no-any-return]
            why = error.why if isinstance(error, json_patch.Refused) else error
            raise expressions.Failed(f"JSONPath: {why}") from error
    if not isinstance(tree, dict):
        raise expressions.Failed("JSONPath: the patched object is not an object")
    return tree


def _refusal(attributes: Attributes, faults: list[Fault]) -> status.ApiError:
    texts = [_text(fault) for fault in faults]
    error = policies.refused(attributes, texts[0], faults[0].reason, 403)
    error.status["message"] = texts[0]
    error.status["details"]["causes"] = [{"message": text} for text in texts]
    return status.ApiError(error.status)


def _text(fault: Fault) -> str:
    if fault.binding is None:
        return f"policy {status.show(fault.policy.name)} denied request: {fault.text}"
    binding = objects.name(fault.binding)
    return f"policy '{fault.policy.name}' with binding '{binding}' denied request: {fault.text}"
