"""Lease: who holds something, and until when: heartbeats and leader election.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause, invalid_value

LEASE = Kind(
    group="coordination.k8s.io",
    versions=("v1",),
    name="Lease",
    plural="leases",
    schema="io.k8s.api.coordination.v1.Lease",
    columns=(Column("Holder", "spec.holderIdentity"), AGE),
    bare_finalizers=True,
    put_creates=True,
    unconditional=False,
)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A lease lasts some seconds, and changes hands forwards."""
    spec = new.get("spec") or {}
    causes = []
    if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
        causes.append(
            invalid_value("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
        )
    if spec.get("leaseTransitions") is not None and spec["leaseTransitions"] < 0:
        text = "must be greater than or equal to 0"
        causes.append(invalid_value("spec.leaseTransitions", spec["leaseTransitions"], text))
    return causes
