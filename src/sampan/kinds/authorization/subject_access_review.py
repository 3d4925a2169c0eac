"""SubjectAccessReview: may this user do that?

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.kinds.parts import review_rules
from sampan.meta.status import Cause

SUBJECTACCESSREVIEW = Kind(
    group="authorization.k8s.io",
    versions=("v1",),
    name="SubjectAccessReview",
    plural="subjectaccessreviews",
    scope=CLUSTER,
    schema="io.k8s.api.authorization.v1.SubjectAccessReview",
    verbs=("create",),
    not_stored=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A user or group, and one question."""
    return review_rules.subject_causes(new.get("spec") or {})
