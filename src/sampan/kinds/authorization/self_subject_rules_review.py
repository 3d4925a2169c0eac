"""SelfSubjectRulesReview: what may I do in this namespace?

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-rules-review-v1/
"""

from sampan.kinds.kind import CLUSTER, Kind

SELFSUBJECTRULESREVIEW = Kind(
    group="authorization.k8s.io",
    versions=("v1",),
    name="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    scope=CLUSTER,
    schema="io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    verbs=("create",),
    not_stored=True,
)
