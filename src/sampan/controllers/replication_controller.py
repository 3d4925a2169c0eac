"""A ReplicationController's pods: as a ReplicaSet's, but that its selector is a plain map of labels.

https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
"""

from sampan.control import own, replicas
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan
from sampan.control.view import View
from sampan.kinds.core.pod import POD
from sampan.kinds.core.replication_controller import REPLICATIONCONTROLLER
from sampan.kinds.kind import Object
from sampan.meta import selectors
from sampan.meta.selectors import Selector


def _selector(parent: Object) -> Selector:
    wanted = parent["spec"].get("selector")
    return selectors.from_map(wanted) if wanted else selectors.NOTHING


REPLICATED = replicas.Replicated(REPLICATIONCONTROLLER, _selector, tells_terminating=False)


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Its pods, then its status."""
    return replicas.reconcile(view, key, now, REPLICATED)


CONTROLLER = Controller(
    name="replicationcontroller-controller",
    component="replication-controller",
    parent=REPLICATIONCONTROLLER,
    reconcile=reconcile,
    owns=(POD,),
    watches=(Watch(POD, own.orphan_keys(REPLICATIONCONTROLLER, _selector), strays=True),),
)
