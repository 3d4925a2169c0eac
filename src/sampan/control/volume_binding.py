"""Volume binding: a claim and a volume as they are when they belong to each other, step by step. Pure.

Each step is one write; what comes next is seen at the next look. First the volume names the claim, then the claim
names the volume, then both say that they are Bound.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from collections.abc import Iterable

from sampan.control import decorate
from sampan.control.plan import Update, Write
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.kind import Object
from sampan.kinds.parts import volume_match
from sampan.meta import objects

YES = "yes"


def reference(claim: Object) -> Object:
    """How a volume names its claim."""
    namespace, name = objects.key(claim)
    found = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name}
    return found | {"uid": objects.uid(claim), "resourceVersion": objects.resource_version(claim)}


def bound_volume(volume: Object, claim: Object) -> Object | None:
    """The volume with the claim's name on it; None when it is there. What was not kept for the claim is marked as ours."""
    known = volume["spec"].get("claimRef") or {}
    annotations = objects.annotations(volume)
    if known.get("uid") == objects.uid(claim) and volume_match.is_for(volume, claim):
        return None
    if not volume_match.is_for(volume, claim):
        annotations = {**annotations, volume_match.BOUND_BY_CONTROLLER: YES}
    return _annotated({**volume, "spec": {**volume["spec"], "claimRef": reference(claim)}}, annotations)


def bound_claim(claim: Object, volume: Object) -> Object | None:
    """The claim with the volume's name on it; None when it is there."""
    name, annotations = objects.name(volume), objects.annotations(claim)
    wanted = {**annotations, volume_match.BIND_COMPLETED: YES}
    if claim["spec"].get("volumeName") != name:
        wanted[volume_match.BOUND_BY_CONTROLLER] = YES
    elif wanted.keys() == annotations.keys():
        return None
    return _annotated({**claim, "spec": {**claim["spec"], "volumeName": name}}, wanted)


def unbound_volume(volume: Object) -> Object:
    """The volume without its claim: free again if the binding was ours, kept for the claim's name if it was not."""
    annotations = objects.annotations(volume)
    if volume_match.BOUND_BY_CONTROLLER in annotations:
        left = {name: value for name, value in annotations.items() if name != volume_match.BOUND_BY_CONTROLLER}
        spec = {name: value for name, value in volume["spec"].items() if name != "claimRef"}
        return _annotated({**volume, "spec": spec}, left)
    kept = {name: value for name, value in volume["spec"]["claimRef"].items() if name != "uid"}
    return {**volume, "spec": {**volume["spec"], "claimRef": kept}}


def volume_status(volume: Object, phase: str, message: str = "") -> tuple[Write, ...]:
    """Writes the volume's phase."""
    status = {**(volume.get("status") or {}), "phase": phase, "message": message or None}
    return decorate.status(PERSISTENTVOLUME, volume, status)


def claim_status(claim: Object, phase: str, volume: Object | None = None) -> tuple[Write, ...]:
    """Writes the claim's phase, and what it has got.

    The size of a claim that is Bound already stays: it may be less than the volume's while that grows.
    """
    status = dict(claim.get("status") or {})
    was = status.get("phase")
    status["phase"] = phase
    if volume is None:
        for name in ("accessModes", "capacity", "currentVolumeAttributesClassName"):
            status.pop(name, None)
        return decorate.status(PERSISTENTVOLUMECLAIM, claim, status)
    spec = volume["spec"]
    status["accessModes"] = spec.get("accessModes")
    capacity = (spec.get("capacity") or {}).get("storage")
    if capacity is not None and (was != "Bound" or not (status.get("capacity") or {}).get("storage")):
        status["capacity"] = {**(status.get("capacity") or {}), "storage": capacity}
    status["currentVolumeAttributesClassName"] = spec.get("volumeAttributesClassName") or None
    return decorate.status(PERSISTENTVOLUMECLAIM, claim, status)


def bind(volume: Object, claim: Object) -> list[Iterable[Write]]:
    """The stages that come next to bind the two; none when all is said."""
    changed, named = bound_volume(volume, claim), bound_claim(claim, volume)
    if changed is not None or named is not None:
        return [
            [Update(PERSISTENTVOLUME, changed)] if changed is not None else [],
            [Update(PERSISTENTVOLUMECLAIM, named)] if named is not None else [],
        ]
    return [volume_status(volume, "Bound"), claim_status(claim, "Bound", volume)]


def _annotated(obj: Object, annotations: dict[str, str]) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "annotations"}
    return {**obj, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}
