"""ValidatingAdmissionPolicy: rules in CEL that requests must meet.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import admission_expressions, admission_match, policy_causes
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.kinds.parts.cells import AGE
from sampan.meta import names, objects, validation
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required

MAX_ANNOTATIONS = 20
MAX_ANNOTATION_BYTES = 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")

Causes = list[Cause]


def count(obj: Object, now: float) -> int:
    """How many validations it has."""
    return len((obj.get("spec") or {}).get("validations") or ())


VALIDATING_ADMISSION_POLICY = Kind(
    group=admission_match.GROUP,
    versions=("v1",),
    name="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    scope=CLUSTER,
    schema="io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    categories=("api-extensions",),
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(
        Column(
            "Validations",
            count,
            kind="integer",
            description="Validations indicates the number of validation rules defined in this configuration",
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


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has an empty status."""
    if old is None:
        new["status"] = {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Constraints, expressions that compile, and either validations or audit annotations."""
    if subresource == "status":
        return _status_causes(new.get("status") or {})
    spec = new.get("spec") or {}
    found = policy_causes.head_causes(spec, None if old is None else old.get("spec") or {})
    more, inputs = policy_causes.variables_causes(spec, Inputs(has_params=spec.get("paramKind") is not None))
    found += more
    validations, notes = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not notes:
        why = "validations or auditAnnotations must contain at least one item"
        return [*found, required("spec.validations", why), required("spec.auditAnnotations", why)]
    for index, rule in enumerate(validations):
        found += _rule_causes(rule, f"spec.validations[{index}]", inputs)
    return found + _annotations_causes(objects.name(new), notes, inputs)


def _rule_causes(rule: Object, field: str, inputs: Inputs) -> Causes:
    expression, message = rule.get("expression") or "", rule.get("message") or ""
    by_expression: str = rule.get("messageExpression") or ""
    if not expression.strip():
        found: Causes = [required(f"{field}.expression", "expression is not specified")]
    else:
        condition = admission_expressions.CONDITION
        found = admission_expressions.causes(expression, f"{field}.expression", inputs, condition)
    if by_expression and not by_expression.strip():
        found.append(invalid_value(f"{field}.messageExpression", by_expression, "must be non-empty if specified"))
    elif by_expression:
        where, anonymous = f"{field}.messageExpression", admission_expressions.without_authorizer(inputs)
        found += admission_expressions.causes(by_expression, where, anonymous, admission_expressions.MESSAGE)
    if message and not message.strip():
        found.append(invalid_value(f"{field}.message", message, "message must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        found.append(invalid_value(f"{field}.message", message, "message must not contain line breaks"))
    reason: Any = rule.get("reason")
    if reason is not None and reason not in REASONS:
        found.append(not_supported(f"{field}.reason", reason, REASONS))
    return found


def _annotations_causes(name: str, notes: Sequence[Object], inputs: Inputs) -> Causes:
    field = "spec.auditAnnotations"
    found: Causes = []
    if len(notes) > MAX_ANNOTATIONS:
        found.append(invalid_value(field, notes, f"must not have more than {MAX_ANNOTATIONS} auditAnnotations"))
    seen: set[str] = set()
    for index, note in enumerate(notes):
        where, key = f"{field}[{index}]", note.get("key") or ""
        whole = f"{name}/{key}"
        found += validation.each(f"{where}.key", whole, names.qualified_name(whole))
        found += _annotation_value_causes(note.get("valueExpression") or "", f"{where}.valueExpression", inputs)
        if key in seen:
            found.append(duplicate(f"{where}.key", key))
        seen.add(key)
    return found


def _annotation_value_causes(given: str, field: str, inputs: Inputs) -> Causes:
    source = given.strip()
    if not source:
        return [required(field, "valueExpression is not specified")]
    if len(source.encode()) > MAX_ANNOTATION_BYTES:
        return [required(field, f"must not exceed {MAX_ANNOTATION_BYTES} bytes in length")]
    return admission_expressions.causes(source, field, inputs, admission_expressions.ANNOTATION)


def _status_causes(status: Object) -> Causes:
    found: Causes = []
    warnings = (status.get("typeChecking") or {}).get("expressionWarnings") or ()
    for index, warning in enumerate(warnings):
        where = f"status.typeChecking.expressionWarnings[{index}]"
        if not warning.get("warning"):
            found.append(required(f"{where}.warning"))
        if not (warning.get("fieldRef") or "").strip():
            found.append(required(f"{where}.fieldRef"))
    return found
