"""A ReplicaSet's pods: as many as spec.replicas, made from its template, as control.replicas keeps them.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
"""

from sampan.control import own, replicas
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan
from sampan.control.view import View
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.pod import POD

REPLICATED = replicas.Replicated(REPLICASET, own.label_selector)


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Its pods, then its status."""
    return replicas.reconcile(view, key, now, REPLICATED)


CONTROLLER = Controller(
    name="replicaset-controller",
    parent=REPLICASET,
    reconcile=reconcile,
    owns=(POD,),
    watches=(Watch(POD, own.orphan_keys(REPLICASET), strays=True),),
)
