"""Eviction: a request to delete a pod that a disruption budget may refuse.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/eviction-v1/
"""

from sampan.kinds.kind import Kind

EVICTION = Kind(
    group="policy",
    versions=("v1",),
    name="Eviction",
    plural="",
    schema="io.k8s.api.policy.v1.Eviction",
    not_stored=True,
    said_as=("policy/v1beta1",),
)
