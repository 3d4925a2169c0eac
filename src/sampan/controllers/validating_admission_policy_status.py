"""A ValidatingAdmissionPolicy's status: what its expressions say that does not fit the types it matches.

Only warnings: such a policy is in effect all the same. Each kind that the rules name without a wildcard is
tried, ten at most; a definition that comes later is seen with the policy's next change.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking
"""

from collections.abc import Iterable, Iterator

from sampan.cel import types
from sampan.cel.environment import CompileError
from sampan.control import decorate
from sampan.control.controller import Controller
from sampan.control.plan import Key, Plan, plan
from sampan.control.view import View
from sampan.kinds import builtin
from sampan.kinds.admissionregistration.validating_admission_policy import VALIDATING_ADMISSION_POLICY
from sampan.kinds.apiextensions import custom
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import admission_expressions
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.meta import objects

MAX_TYPES = 10
_COMPILER = "compilation failed: "


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Checks a generation of the policy once."""
    policy = view.get(VALIDATING_ADMISSION_POLICY, key)
    if policy is None or objects.is_deleting(policy):
        return Plan()
    status = policy.get("status") or {}
    if status.get("observedGeneration") == objects.generation(policy) and status.get("typeChecking") is not None:
        return Plan()
    kinds = [*builtin.KINDS, *(kind for crd in view.list(CUSTOMRESOURCEDEFINITION) for kind in custom.kinds_of(crd))]
    warnings = check(policy.get("spec") or {}, kinds)
    checking = {"expressionWarnings": warnings} if warnings else {}
    wanted = {**status, "observedGeneration": objects.generation(policy), "typeChecking": checking}
    return plan(decorate.status(VALIDATING_ADMISSION_POLICY, policy, wanted))


def check(spec: Object, kinds: Iterable[Kind]) -> list[Object]:
    """ExpressionWarnings for each expression that does not compile against the types that the rules name."""
    served = list(kinds)
    matched = _matched(spec, served)
    params = _params(spec, served)
    warnings = []
    for index, rule in enumerate(spec.get("validations") or ()):
        for name in ("expression", "messageExpression"):
            texts = [text for kind in matched if rule.get(name) and (text := _problem(spec, rule[name], kind, params))]
            if texts:
                field = f"spec.validations[{index}].{name}"
                warnings.append({"fieldRef": field, "warning": "\n".join(texts)})
    return warnings


def _problem(spec: Object, source: str, kind: Kind, params: types.Type | None) -> str:
    """What the compiler says about an expression over objects of that kind; "" when nothing."""
    made = types.of_schema(kind.type, kind.name, root=True)
    inputs = Inputs(
        has_params=params is not None,
        object_type=made or types.DYN,
        params_type=params or types.DYN,
    )
    for variable in spec.get("variables") or ():
        inputs = admission_expressions.with_variable(inputs, variable["name"], variable["expression"])
    try:
        admission_expressions.environment(inputs).compile(source)
    except CompileError as error:
        return f"{kind.api_version}, Kind={kind.name}: {str(error).removeprefix(_COMPILER)}\n"
    return ""


def _params(spec: Object, kinds: list[Kind]) -> types.Type | None:
    wanted = spec.get("paramKind") or {}
    named = (wanted.get("apiVersion"), wanted.get("kind"))
    kind = next((k for k in kinds if (k.api_version, k.name) == named), None)
    return None if kind is None else types.of_schema(kind.type, kind.name, root=True)


def _matched(spec: Object, kinds: list[Kind]) -> list[Kind]:
    """The kinds that the rules name, ordered by group, version and kind."""
    found: dict[tuple[str, str, str], Kind] = {}
    by_resource = {(k.group, version, k.plural): k for k in reversed(kinds) for version in k.versions}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for resource in _named(rule):
            kind = by_resource.get(resource)
            if kind is not None and len(found) < MAX_TYPES:
                found[kind.group, kind.version, kind.name] = kind
    return [found[key] for key in sorted(found)]


def _named(rule: Object) -> Iterator[tuple[str, str, str]]:
    """(group, version, resource) of a rule, none when a wildcard stands for group or version."""
    groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
    if any("*" in text for text in (*groups, *versions)):
        return
    for group in groups:
        for version in versions:
            for resource in sorted(rule.get("resources") or ()):
                if "*" not in resource and "/" not in resource:
                    yield group, version, resource


CONTROLLER = Controller(
    "validatingadmissionpolicy-status-controller",
    VALIDATING_ADMISSION_POLICY,
    reconcile,
    reads=(CUSTOMRESOURCEDEFINITION,),
)
