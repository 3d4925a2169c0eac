"""LocalSubjectAccessReview: may this user do that in this namespace?

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/local-subject-access-review-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import review_rules
from sampan.meta.status import Cause

LOCALSUBJECTACCESSREVIEW = Kind(
    group="authorization.k8s.io",
    versions=("v1",),
    name="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    schema="io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    verbs=("create",),
    not_stored=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A user or group, and a question about this namespace."""
    return review_rules.local_causes(new)
