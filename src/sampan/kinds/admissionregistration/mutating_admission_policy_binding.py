"""MutatingAdmissionPolicyBinding: where a mutating policy applies, and with which parameters.

https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.kinds.parts import admission_match, policy_causes
from sampan.meta.status import Cause

MUTATING_ADMISSION_POLICY_BINDING = Kind(
    group=admission_match.GROUP,
    versions=("v1",),
    name="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
    scope=CLUSTER,
    schema="io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
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
    """A policy's name, parameters, and resources without deletions."""
    spec = new.get("spec") or {}
    found = policy_causes.binding_causes(spec, "spec.matchResources")
    return found + admission_match.operation_causes(spec.get("matchResources") or {}, "spec.matchResources")
