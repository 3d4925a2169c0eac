"""A claim that a pod uses stays, though deleted, until the pod has ended.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from collections.abc import Iterable

from sampan.control import protection
from sampan.control.controller import Controller, Watch
from sampan.control.plan import AskList, Key, Plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod as pods
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_claims
from sampan.meta import objects

FINALIZER = "kubernetes.io/pvc-protection"
BEHIND_SECONDS = 0.1


def reconcile(view: View, key: Key, now: float) -> Plan:
    """In use is what a pod on a node names, or was made for one; a pod without a node won't get a deleted claim.

    The finalizer goes only when a live list shows that no pod has been missed.
    """
    claim = view.get(PERSISTENTVOLUMECLAIM, key)
    if claim is None:
        return Plan()
    namespace, name = key
    if not objects.is_deleting(claim) or FINALIZER not in objects.finalizers(claim):
        return protection.keep(PERSISTENTVOLUMECLAIM, claim, FINALIZER, in_use=False)
    if any(_uses(pod, name) for pod in view.list(POD, namespace)):
        return Plan()
    question = AskList(POD, namespace)
    live = view.answer(question)
    if live is UNANSWERED:
        return Plan(ask=(question,))
    if not isinstance(live, tuple) or any(_is_missed(view.get(POD, objects.key(p)), p, name) for p in live):
        return Plan(again=BEHIND_SECONDS)
    return protection.keep(PERSISTENTVOLUMECLAIM, claim, FINALIZER, in_use=False)


def _uses(pod: Object, name: str) -> bool:
    return pods.is_scheduled(pod) and not pods.is_terminal(pod) and name in pod_claims.names(pod)


def _is_missed(known: Object | None, live: Object, name: str) -> bool:
    """Whether a pod, of which only the metadata are live, may use the claim by now: its volumes never change."""
    if known is None or objects.uid(known) != objects.uid(live):
        return True
    if pods.is_scheduled(known) or name not in pod_claims.names(known):
        return False
    return objects.resource_version(known) != objects.resource_version(live)


def _keys(view: View, pod: Object) -> Iterable[Key]:
    return [(objects.namespace(pod), name) for name in sorted(pod_claims.names(pod))]


CONTROLLER = Controller("pvc-protection-controller", PERSISTENTVOLUMECLAIM, reconcile, watches=(Watch(POD, _keys),))
