"""SelfSubjectAccessReview: may I do that?

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.kinds.parts import review_rules
from sampan.meta.status import Cause

SELFSUBJECTACCESSREVIEW = Kind(
    group="authorization.k8s.io",
    versions=("v1",),
    name="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    scope=CLUSTER,
    schema="io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    verbs=("create",),
    not_stored=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """One question."""
    return review_rules.question_causes(new.get("spec") or {})
