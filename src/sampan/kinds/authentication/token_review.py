"""TokenReview: whose token is this?

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Kind, Object
from sampan.meta.status import Cause, required

TOKENREVIEW = Kind(
    group="authentication.k8s.io",
    versions=("v1",),
    name="TokenReview",
    plural="tokenreviews",
    scope=CLUSTER,
    schema="io.k8s.api.authentication.v1.TokenReview",
    verbs=("create",),
    not_stored=True,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """There is a token to look at."""
    return () if (new.get("spec") or {}).get("token") else [required("spec.token")]
