"""SelfSubjectReview: who am I to the API?

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/self-subject-review-v1/
"""

from sampan.kinds.kind import CLUSTER, Kind

SELFSUBJECTREVIEW = Kind(
    group="authentication.k8s.io",
    versions=("v1",),
    name="SelfSubjectReview",
    plural="selfsubjectreviews",
    scope=CLUSTER,
    schema="io.k8s.api.authentication.v1.SelfSubjectReview",
    verbs=("create",),
    not_stored=True,
)
