"""A volume says whether it is free or taken; when its claim is gone it is kept, or deleted by whoever provided it.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#reclaiming
"""

from collections.abc import Iterable

from sampan.control import own, volume_binding
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import NOTHING, Ask, Key, Plan, Update, plan, warning
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.kind import Object
from sampan.kinds.parts import volume_match
from sampan.meta import objects

OVER = ("Released", "Failed")
MIGRATED = "pv.kubernetes.io/migrated-to"
NO_RECYCLER = "No recycler plugin found for the volume!"
UNKNOWN_POLICY = "Volume has unrecognized reclaim policy."


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Its phase, by what became of its claim."""
    volume = view.get(PERSISTENTVOLUME, key)
    if volume is None:
        return NOTHING
    known = volume["spec"].get("claimRef")
    if not known or not known.get("uid"):
        return plan(volume_binding.volume_status(volume, "Available"))
    question = Ask(PERSISTENTVOLUMECLAIM, (known.get("namespace") or "", known.get("name") or ""))
    claim = view.get(PERSISTENTVOLUMECLAIM, question.key)
    if claim is None or objects.uid(claim) != known["uid"]:
        claim = view.answer(question)
        if claim is UNANSWERED:
            return Plan(ask=(question,))
    if claim is None or objects.uid(claim) != known["uid"]:
        return _reclaim(volume)
    return _with_claim(volume, claim)


def _with_claim(volume: Object, claim: Object) -> Plan:
    name = claim["spec"].get("volumeName")
    if name == objects.name(volume):
        return plan(volume_binding.volume_status(volume, "Bound"))
    if name:
        return _without_claim(volume)
    if volume_match.is_other_mode(volume, claim):
        asked = f'to requested PersistentVolumeClaim "{objects.name(claim)}" due to incompatible volumeMode.'
        about = own.typed(claim, PERSISTENTVOLUMECLAIM)
        text = f'Cannot bind PersistentVolume "{objects.name(volume)}" {asked}'
        told = (
            warning("VolumeMismatch", f"Cannot bind PersistentVolume {asked}"),
            warning("VolumeMismatch", text, about),
        )
        return plan(events=told)
    return NOTHING  # the claim's side goes on


def _without_claim(volume: Object) -> Plan:
    """The claim has another volume."""
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    if volume_match.PROVISIONED_BY in objects.annotations(volume) and policy == "Delete":
        return _reclaim(volume)
    return plan([Update(PERSISTENTVOLUME, volume_binding.unbound_volume(volume))])


def _reclaim(volume: Object) -> Plan:
    """Released; then what its policy says. Who provided it deletes it, and nobody can recycle one."""
    if (volume.get("status") or {}).get("phase") not in OVER:
        return plan(volume_binding.volume_status(volume, "Released"))
    annotations = objects.annotations(volume)
    if MIGRATED in annotations or objects.is_deleting(volume):
        return NOTHING
    match volume["spec"].get("persistentVolumeReclaimPolicy"):
        case "Retain":
            return NOTHING
        case "Delete":
            if volume_match.PROVISIONED_BY in annotations:
                return NOTHING
            text = f'error getting deleter volume plugin for volume "{objects.name(volume)}": '
            return _failed(volume, "VolumeFailedDelete", text + "no deletable volume plugin matched")
        case "Recycle":
            return _failed(volume, "VolumeFailedRecycle", NO_RECYCLER)
        case _:
            return _failed(volume, "VolumeUnknownReclaimPolicy", UNKNOWN_POLICY)


def _failed(volume: Object, reason: str, message: str) -> Plan:
    """Told once, with the phase."""
    writes = volume_binding.volume_status(volume, "Failed", message=message)
    return plan(writes, events=[warning(reason, message)] if writes else [])


def _of_claim(view: View, claim: Object) -> Iterable[Key]:
    """The volume that the claim names, and those that name it."""
    name = claim["spec"].get("volumeName")
    if name:
        yield "", name
    for volume in view.indexed(PERSISTENTVOLUME, "spec.claimRef.uid", objects.uid(claim)):
        yield objects.key(volume)


CONTROLLER = Controller(
    name="persistentvolume-reclaimer",
    component="persistentvolume-controller",
    parent=PERSISTENTVOLUME,
    reconcile=reconcile,
    watches=(Watch(PERSISTENTVOLUMECLAIM, _of_claim),),
    indexes=(Index(PERSISTENTVOLUME, "spec.claimRef.uid"),),
)
