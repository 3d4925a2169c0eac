"""A claim with the access mode ReadWriteOncePod is for one pod of the cluster at a time.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes
"""

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
    """No node is good while another pod has such a claim; of a node that is only tried, those that are there now count."""
    alone = {
        (pod.namespace, name)
        for _, name, claim in storage.claims(pod, known)
        if claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())
    }
    users = {
        uid: node
        for claim in alone
        for uid, node in snapshot.users.get(claim, {}).items()
        if uid != pod.uid and node in snapshot.index
    }
    if not users:
        return [None] * len(nodes)
    return [IN_USE if _is_used(users, n, snapshot) else None for n in nodes]


def _is_used(users: dict[str, str], node: int, snapshot: Snapshot) -> bool:
    name, there = snapshot.names[node], snapshot.usage[node].pods
    return any(where != name or uid in there for uid, where in users.items())
