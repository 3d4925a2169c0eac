"""ResourceClaimTemplate: what claims are made of for each pod that refers to it.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-template-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import cells, claim_rules, device_rules
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value

RESOURCECLAIMTEMPLATE = Kind(
    group="resource.k8s.io",
    versions=("v1",),
    name="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    schema="io.k8s.api.resource.v1.ResourceClaimTemplate",
    columns=(cells.AGE,),
    answers_deleted=True,
)


def default(obj: Object) -> None:
    """A request is for one device."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("metadata", {})
    claim = spec.setdefault("spec", {})
    claim.setdefault("devices", {})
    device_rules.default(claim)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Labels and annotations, and a claim's spec; it stays."""
    spec = new.get("spec") or {}
    if old is not None:
        before = objects.copy(old)
        default(before)  # which one of before may lack
        return [] if objects.same(spec, before["spec"]) else [invalid_value("spec", spec, "field is immutable")]
    causes = claim_rules.template_meta_causes(spec.get("metadata") or {}, "spec.metadata")
    return causes + device_rules.claim_causes(spec.get("spec") or {}, "spec.spec")
