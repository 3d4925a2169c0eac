"""ValidatingAdmissionPolicyBinding: where a policy applies, with which parameters, and what a failure does.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.kinds.parts import admission_match, policy_causes
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required

ACTIONS = ("Audit", "Deny", "Warn")

VALIDATING_ADMISSION_POLICY_BINDING = Kind(
    group=admission_match.GROUP,
    versions=("v1",),
    name="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    scope=CLUSTER,
    schema="io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    categories=("api-extensions",),
    columns=policy_causes.BINDING_COLUMNS,
    has_generation=True,
    bare_finalizers=True,
    unconditional=False,
)


def default(obj: Object) -> None:
    """matchResources match equivalent versions and everything."""
    policy_causes.default_binding(obj)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A policy's name, parameters, resources, and actions that fit together."""
    spec = new.get("spec") or {}
    # The reference server misspells this path, and clients see it.
    found = policy_causes.binding_causes(spec, "spec.matchResouces")
    return found + _action_causes(spec.get("validationActions") or [], "spec.validationActions")


def _action_causes(actions: list[str], field: str) -> list[Cause]:
    found: list[Cause] = []
    for index, action in enumerate(actions):
        if action not in ACTIONS:
            found.append(not_supported(f"{field}[{index}]", action, ACTIONS))
        if action in actions[:index]:
            found.append(duplicate(f"{field}[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information "
            "in the API response and headers serves no purpose)"
        )
        found.append(invalid_value(field, actions, why))
    if not actions:
        found.append(required(field, "at least one validation action is required"))
    return found
