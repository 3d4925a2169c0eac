"""A claim with the access mode ReadWriteOncePod is for one pod of the cluster at a time.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes
"""

from sampan.kinds.parts import pod_claims
from sampan.scheduling import storage
from sampan.scheduling.storage import Storage
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "VolumeRestrictions"
IN_USE = Verdict(
    NAME,
    ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",),
    is_final=False,
)


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot, known: Storage) -> list[Verdict | None]:
    """No node is good while another pod has such a claim."""
    alone = {
        name
        for _, name, claim in storage.claims(pod, known)
        if claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())
    }
    return [IN_USE if alone and _is_used(pod, alone, snapshot) else None] * len(nodes)


def _is_used(pod: Demand, alone: set[str], snapshot: Snapshot) -> bool:
    return any(
        other.namespace == pod.namespace and other.uid != pod.uid and not alone.isdisjoint(pod_claims.names(other.pod))
        for usage in snapshot.usage
        for other in usage.pods.values()
    )
