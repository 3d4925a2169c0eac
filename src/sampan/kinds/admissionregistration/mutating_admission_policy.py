"""MutatingAdmissionPolicy: changes in CEL to objects that are written.

https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import admission_expressions, admission_match, policy_causes
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause, invalid_value, not_supported, required

PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
_FIELDS = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}

Causes = list[Cause]


def count(obj: Object, now: float) -> int:
    """How many mutations it has."""
    return len((obj.get("spec") or {}).get("mutations") or ())


MUTATING_ADMISSION_POLICY = Kind(
    group=admission_match.GROUP,
    versions=("v1",),
    name="MutatingAdmissionPolicy",
    plural="mutatingadmissionpolicies",
    scope=CLUSTER,
    schema="io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    categories=("api-extensions",),
    columns=(
        Column(
            "Mutations",
            count,
            kind="integer",
            description="Mutations indicates the number of mutation rules defined in this configuration",
        ),
        Column(
            "ParamKind",
            policy_causes.param_kind_text,
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    ),
    has_generation=True,
    bare_finalizers=True,
    unconditional=False,
)


def default(obj: Object) -> None:
    """Fail closed; the rules match equivalent versions and everything."""
    policy_causes.default(obj)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Constraints without deletions, expressions that compile, and at least one mutation."""
    spec = new.get("spec") or {}
    found = policy_causes.head_causes(spec, None if old is None else old.get("spec") or {})
    found += admission_match.operation_causes(spec.get("matchConstraints") or {}, "spec.matchConstraints")
    more, inputs = policy_causes.variables_causes(spec, policy_inputs(spec))
    found += more
    mutations = spec.get("mutations") or []
    if not mutations:
        found.append(required("spec.mutations", "mutations must contain at least one item"))
    for index, mutation in enumerate(mutations):
        found += _mutation_causes(mutation, f"spec.mutations[{index}]", inputs)
    reinvocation = spec.get("reinvocationPolicy") or None
    return found + admission_match.choice_causes(
        reinvocation, "spec.reinvocationPolicy", admission_match.REINVOCATION_POLICIES
    )


def policy_inputs(spec: Object) -> Inputs:
    """What a mutating policy's expressions may name, before its own variables."""
    return Inputs(has_params=spec.get("paramKind") is not None, mutates=True)


def _mutation_causes(mutation: Object, field: str, inputs: Inputs) -> Causes:
    patch = mutation.get("patchType") or ""
    if not patch:
        return [required(f"{field}.patchType")]
    if patch not in PATCH_TYPES:
        return [not_supported(f"{field}.patchType", patch, PATCH_TYPES)]
    mine = _FIELDS[patch]
    (other,) = set(_FIELDS.values()) - {mine}
    body = mutation.get(mine)
    found: Causes = []
    if body is None:
        found.append(required(f"{field}.{mine}", f"must be specified when patchType is {patch}"))
    else:
        source, where = (body.get("expression") or "").strip(), f"{field}.{mine}.expression"
        results = admission_expressions.MUTATION_RESULTS[patch]
        found += admission_expressions.causes(source, where, inputs, results) if source else [required(where)]
    if mutation.get(other) is not None:
        why = f"must not be specified when patchType is {patch}"
        found.append(invalid_value(f"{field}.{other}", f"{{{other}}}", why))
    return found
