"""ValidatingAdmissionPolicies: each validation that is not true denies, warns or is noted, as the binding says.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.cel.program import Budget, BudgetExceeded
from sampan.kinds.admissionregistration.validating_admission_policy import VALIDATING_ADMISSION_POLICY
from sampan.kinds.admissionregistration.validating_admission_policy_binding import (
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from sampan.kinds.parts import admission_expressions
from sampan.meta import objects
from sampan.server import aside
from sampan.server.admission import expressions, matching, policies
from sampan.server.admission.admission_metrics import AdmissionMetrics
from sampan.server.admission.chain import Attributes, Concern, Lookup
from sampan.server.admission.policies import Fault, Invocation, Policies, Policy
from sampan.server.authz.authorizer import Authorizer
from sampan.server.served import Served
from sampan.server.versions import Versions

MAX_MESSAGE_BYTES = 5 * 1024
MAX_ANNOTATION_BYTES = 10 * 1024
_FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}

Tree = dict[str, Any]
Variables = Mapping[str, Any]
Annotations = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Denial:
    """A validation that did not pass. `binding` is None when the policy itself is at fault."""

    policy: str
    binding: str | None
    text: str
    reason: str = "Invalid"

    def __str__(self) -> str:
        head = f"ValidatingAdmissionPolicy '{self.policy}'"
        if self.binding is not None:
            head += f" with binding '{self.binding}'"
        return f"{head} denied request: {self.text}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A validation's failure, before the binding says what comes of it. `index` is its place among them."""

    index: int
    text: str
    reason: str = "Invalid"


class ValidatingPolicies:
    """The plugin."""

    CONCERNS = Concern(needs=(VALIDATING_ADMISSION_POLICY_BINDING,))

    def __init__(self, served: Served, versions: Versions, authorizer: Authorizer, metrics: AdmissionMetrics) -> None:
        kinds = (VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING)
        self._policies = Policies.of(kinds, served, versions, authorizer)
        self._metrics = metrics

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError with the first denial."""
        if matching.is_exempt_from_policies(attributes):
            return
        invocations, faults = await self._policies.invocations(attributes, lookup)
        denials = [_fault_denial(fault) for fault in faults if fault.policy.failure_policy != "Ignore"]
        namespace = self._policies.namespace(attributes, lookup) if invocations else None
        notes: dict[str, Annotations] = {}
        for invocation in invocations:
            variables = await self._policies.variables(attributes, invocation, namespace)
            mine = notes.setdefault(invocation.policy.name, {})
            found = await aside.run(_judged, invocation, attributes, variables, mine)
            action = "deny" if found else "allow"
            self._metrics.checked(invocation.policy.name, objects.name(invocation.binding), action)
            denials += found
        for name, mine in notes.items():
            for key, values in mine.items():
                attributes.note(f"{name}/{key}", ", ".join(values))
        if denials:
            first = denials[0]
            raise policies.refused(attributes, str(first), first.reason, _CODES.get(first.reason, 422))


def _fault_denial(fault: Fault) -> Denial:
    binding = None if fault.binding is None else objects.name(fault.binding)
    return Denial(fault.policy.name, binding, fault.text)


def _judged(invocation: Invocation, attributes: Attributes, variables: Variables, notes: Annotations) -> list[Denial]:
    """What one invocation denies; warnings and notes go where they belong."""
    policy, binding = invocation.policy, objects.name(invocation.binding)
    try:
        if not policies.conditions_hold(policy, variables):
            return []
    except expressions.Failed as error:
        return _carried_out(invocation, attributes, [Outcome(0, str(error))])
    denials = _carried_out(invocation, attributes, _outcomes(policy, variables))
    try:
        _note(policy, variables, notes)
    except (expressions.Failed, BudgetExceeded) as error:
        if policy.failure_policy != "Ignore":
            denials.append(Denial(policy.name, binding, str(error)))
    return denials


def _carried_out(invocation: Invocation, attributes: Attributes, outcomes: list[Outcome]) -> list[Denial]:
    """Deny, Warn and Audit, as the binding's validationActions say."""
    policy, binding = invocation.policy.name, objects.name(invocation.binding)
    actions = (invocation.binding.get("spec") or {}).get("validationActions") or []
    denials = []
    for outcome in outcomes:
        if "Deny" in actions:
            denials.append(Denial(policy, binding, outcome.text, outcome.reason))
        if "Audit" in actions:
            noted: Tree = {"message": outcome.text, "policy": policy, "binding": binding}
            noted |= {"expressionIndex": outcome.index, "validationActions": actions}
            attributes.note(_FAILURE_ANNOTATION, orjson.dumps([noted]).decode())
        if "Warn" in actions:
            head = f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}'"
            attributes.call.warnings.append(f"{head}: {outcome.text}")
    return denials


def _outcomes(policy: Policy, variables: Variables) -> list[Outcome]:
    """The validations that do not pass; those that fail to evaluate count by the failurePolicy."""
    budget = Budget()
    known = policies.with_variables(policy, variables, budget)
    found: list[Outcome] = []
    fails_open = policy.failure_policy == "Ignore"
    try:
        for index, rule in enumerate(policy.spec.get("validations") or ()):
            try:
                condition = admission_expressions.CONDITION
                if expressions.evaluate(rule["expression"], policy.inputs, condition, known, budget) is True:
                    continue
                text = _message(policy, rule, known, budget)
                found.append(Outcome(index, text, rule.get("reason") or "Invalid"))
            except expressions.Failed as error:
                if not fails_open:
                    found.append(Outcome(index, str(error)))
    except BudgetExceeded as error:
        return [] if fails_open else [Outcome(0, str(error))]
    return found


def _message(policy: Policy, rule: Tree, variables: Variables, budget: Budget) -> str:
    """messageExpression's text if it gives a proper one, else the message, else the expression itself."""
    source = rule.get("messageExpression") or ""
    if source.strip():
        inputs = admission_expressions.without_authorizer(policy.inputs)
        try:
            made = expressions.evaluate(source, inputs, admission_expressions.MESSAGE, variables, budget)
        except expressions.Failed:
            made = None
        except BudgetExceeded as error:
            raise expressions.Failed(f"failed messageExpression: {error}") from error
        text = made.strip() if isinstance(made, str) else ""
        if text and "\n" not in text and len(text.encode()) <= MAX_MESSAGE_BYTES:
            return text
    return (rule.get("message") or "").strip() or f"failed expression: {rule['expression'].strip()}"


def _note(policy: Policy, variables: Variables, notes: Annotations) -> None:
    """Adds the policy's audit annotations. Raises Failed or BudgetExceeded."""
    budget = Budget()
    known = policies.with_variables(policy, variables, budget)
    for note in policy.spec.get("auditAnnotations") or ():
        source = note["valueExpression"].strip()
        value = expressions.evaluate(source, policy.inputs, admission_expressions.ANNOTATION, known, budget)
        if value is None:
            continue
        if not isinstance(value, str):
            raise expressions.Failed(
                f"valueExpression '{source}' resulted in unsupported return type: {type(value).__name__}. "
                "Return type must be either string or null."
            )
        text = value.strip().encode()[:MAX_ANNOTATION_BYTES].decode(errors="ignore")
        values = notes.setdefault(note["key"], [])
        if text and text not in values:
            values.append(text)
    for key in [key for key, values in notes.items() if not values]:
        del notes[key]
