"""MutatingAdmissionPolicyBinding: where a mutating policy applies, and with which parameters.

https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import admission_match, policy_causes
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause

MUTATING_ADMISSION_POLICY_BINDING = Kind(
    group=admission_match.GROUP,
    versions=("v1",),
    name="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
    scope=CLUSTER,
    schema="io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    categories=("api-extensions",),
    columns=(
        Column(
            "PolicyName",
            "spec.policyName",
            description="PolicyName indicates the policy definition which the policy binding binded to",
        ),
        Column(
            "ParamRef",
            policy_causes.param_ref_text,
            description="ParamRef indicates the param resource which sets the configration param",
        ),
        AGE,
    ),
    has_generation=True,
)


def default(obj: Object) -> None:
    """matchResources match equivalent versions and everything."""
    policy_causes.default_binding(obj)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A policy's name, parameters, and resources without deletions."""
    spec = new.get("spec") or {}
    found = policy_causes.binding_causes(spec, "spec.matchResources")
    return found + admission_match.operation_causes(spec.get("matchResources") or {}, "spec.matchResources")
