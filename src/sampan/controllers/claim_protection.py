"""A claim that a pod uses stays, though deleted, until the pod has ended.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from collections.abc import Iterable

from sampan.control import protection
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan
from sampan.control.view import View
from sampan.kinds.core import pod as pods
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_claims
from sampan.meta import objects

FINALIZER = "kubernetes.io/pvc-protection"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """In use is what a pod on a node names, or was made for one; a pod without a node won't get a deleted claim."""
    claim = view.get(PERSISTENTVOLUMECLAIM, key)
    if claim is None:
        return Plan()
    namespace, name = key
    in_use = objects.is_deleting(claim) and any(
        name in pod_claims.names(pod)
        for pod in view.list(POD, namespace)
        if pods.is_scheduled(pod) and not pods.is_terminal(pod)
    )
    return protection.keep(PERSISTENTVOLUMECLAIM, claim, FINALIZER, in_use=in_use)


def _keys(view: View, pod: Object) -> Iterable[Key]:
    for name in sorted(pod_claims.names(pod)):
        yield objects.namespace(pod), name


CONTROLLER = Controller("pvc-protection-controller", PERSISTENTVOLUMECLAIM, reconcile, watches=(Watch(POD, _keys),))
