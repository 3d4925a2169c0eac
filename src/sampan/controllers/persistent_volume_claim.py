"""A claim is bound to the volume that fulfils it, waits for one, or is lost when its volume is.

The volume's side is in persistent_volume. Whoever provides volumes of a class is told by the claim's annotations.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from collections.abc import Iterable

from sampan.control import volume_binding
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import NOTHING, Ask, Event, Key, Plan, Update, normal, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import persistent_volume_claim
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_claims, volume_match
from sampan.kinds.storage import storage_class
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.meta import objects

LOOK_AGAIN_SECONDS = 15.0
"""A claim that waits is told why again."""
PROVISIONER_ANNOTATIONS = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
NO_VOLUME = "no persistent volumes available for this claim and no storage class is set"
NO_CONSUMER = "waiting for first consumer to be created before binding"
NO_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
NO_LONGER = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"
EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
    "registered."
)
_PHASE, _CLAIM = "status.phase", "spec.claimRef.name"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """One step further towards being bound."""
    claim = view.get(PERSISTENTVOLUMECLAIM, key)
    if claim is None:
        return NOTHING
    if volume_match.BIND_COMPLETED in objects.annotations(claim):
        return _keep(view, claim)
    if objects.is_deleting(claim):
        return NOTHING
    named = claim["spec"].get("volumeName")
    return _bind_to(view, claim, named) if named else _find(view, claim)


def _keep(view: View, claim: Object) -> Plan:
    """What was bound stays so, as long as the volume is there and is its own."""
    name = claim["spec"].get("volumeName")
    if not name:
        return _lost(claim, "ClaimLost", NO_REFERENCE)
    question = Ask(PERSISTENTVOLUME, ("", name))
    volume = view.get(PERSISTENTVOLUME, question.key) or view.answer(question)
    if volume is UNANSWERED:
        return Plan(ask=(question,))
    if volume is None:
        return _lost(claim, "ClaimLost", NO_LONGER)
    known = volume["spec"].get("claimRef")
    if known is None or known.get("uid") == objects.uid(claim):
        return plan(*volume_binding.bind(volume, claim))
    return _lost(claim, "ClaimMisbound", MISBOUND)


def _lost(claim: Object, reason: str, message: str) -> Plan:
    is_new = (claim.get("status") or {}).get("phase") != "Lost"
    return plan(volume_binding.claim_status(claim, "Lost"), events=[warning(reason, message)] if is_new else [])


def _bind_to(view: View, claim: Object, name: str) -> Plan:
    """To the volume that somebody asked for by name."""
    volume = view.get(PERSISTENTVOLUME, ("", name))
    if volume is None:
        return _waits(claim)
    if not volume["spec"].get("claimRef"):
        why = volume_match.obstacle(volume, claim)
        if why:
            return _waits(claim, warning("VolumeMismatch", f'Cannot bind to requested volume "{name}": {why}'))
    elif not volume_match.is_for(volume, claim):
        return _waits(claim, warning("FailedBinding", f'volume "{name}" already bound to a different claim.'))
    return plan(*volume_binding.bind(volume, claim))


def _find(view: View, claim: Object) -> Plan:
    """To the volume that suits best; or else it is said what the claim waits for."""
    known = view.get(STORAGECLASS, ("", volume_match.storage_class(claim)))
    is_delayed = volume_match.is_delayed(known)
    volume = volume_match.best(claim, _possible(view, claim), is_delayed=is_delayed)
    if volume is not None:
        return plan(*volume_binding.bind(volume, claim))
    if not persistent_volume_claim.has_class(claim):
        default = storage_class.newest_default(view.list(STORAGECLASS))
        if default is not None:
            named = {**claim, "spec": {**claim["spec"], "storageClassName": default}}
            return plan([Update(PERSISTENTVOLUMECLAIM, named)])
    if is_delayed and volume_match.SELECTED_NODE not in objects.annotations(claim):
        return _waits(claim, _no_consumer(view, claim))
    if volume_match.storage_class(claim):
        return _provide(claim, known)
    return _waits(claim, normal("FailedBinding", NO_VOLUME))


def _possible(view: View, claim: Object) -> list[Object]:
    """Volumes that are free, and those that are kept for the claim."""
    found = {objects.name(v): v for v in view.indexed(PERSISTENTVOLUME, _PHASE, "Available")}
    found |= {objects.name(v): v for v in view.indexed(PERSISTENTVOLUME, _CLAIM, objects.name(claim))}
    return [found[name] for name in sorted(found)]


def _no_consumer(view: View, claim: Object) -> Event:
    namespace, name = objects.key(claim)
    waiting = [
        objects.name(p)
        for p in view.list(POD, namespace)
        if not p["spec"].get("nodeName") and not objects.is_deleting(p) and name in pod_claims.names(p)
    ]
    if not waiting:
        return normal("WaitForFirstConsumer", NO_CONSUMER)
    pods_text = f"pods {','.join(waiting)}" if len(waiting) > 1 else f"pod {waiting[0]}"
    return normal("WaitForPodScheduled", f"waiting for {pods_text} to be scheduled")


def _provide(claim: Object, known: Object | None) -> Plan:
    """Asks the class's provisioner, who is somebody else, for a volume."""
    if known is None:
        name = volume_match.storage_class(claim)
        return _waits(claim, warning("ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found'))
    provisioner = str(known.get("provisioner") or "")
    if provisioner.startswith("kubernetes.io/"):
        text = f"no volume plugin matched name: {provisioner}"
        return _waits(claim, warning("ProvisioningFailed", text))
    annotations = objects.annotations(claim)
    wanted = {**annotations, **dict.fromkeys(PROVISIONER_ANNOTATIONS, provisioner)}
    if wanted != annotations:
        named = {**claim, "metadata": {**claim["metadata"], "annotations": wanted}}
        return plan([Update(PERSISTENTVOLUMECLAIM, named)])
    return _waits(claim, normal("ExternalProvisioning", EXTERNAL.format(provisioner)))


def _waits(claim: Object, *events: Event) -> Plan:
    return plan(volume_binding.claim_status(claim, "Pending"), events=events, again=LOOK_AGAIN_SECONDS)


def _of_volume(view: View, volume: Object) -> Iterable[Key]:
    """The claim that the volume is kept for or bound to, those that name it, and those that it may suit."""
    name = volume["spec"].get("claimRef")
    if name:
        yield str(name.get("namespace") or ""), str(name.get("name") or "")
    for claim in view.indexed(PERSISTENTVOLUMECLAIM, "spec.volumeName", objects.name(volume)):
        yield objects.key(claim)
    if name:
        return
    for claim in view.indexed(PERSISTENTVOLUMECLAIM, _PHASE, "Pending"):
        if volume_match.storage_class(claim) == volume_match.storage_class(volume):
            yield objects.key(claim)


def _of_class(view: View, changed: Object) -> Iterable[Key]:
    """Claims that wait for a volume of the class, and those without one if it is the default."""
    for claim in view.indexed(PERSISTENTVOLUMECLAIM, _PHASE, "Pending"):
        if volume_match.storage_class(claim) in (objects.name(changed), ""):
            yield objects.key(claim)


CONTROLLER = Controller(
    name="persistentvolume-binder",
    component="persistentvolume-controller",
    parent=PERSISTENTVOLUMECLAIM,
    reconcile=reconcile,
    watches=(Watch(PERSISTENTVOLUME, _of_volume), Watch(STORAGECLASS, _of_class)),
    reads=(POD,),
    indexes=(
        Index(PERSISTENTVOLUME, _PHASE),
        Index(PERSISTENTVOLUME, _CLAIM),
        Index(PERSISTENTVOLUMECLAIM, _PHASE),
        Index(PERSISTENTVOLUMECLAIM, "spec.volumeName"),
    ),
)
