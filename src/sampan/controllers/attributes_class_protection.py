"""A VolumeAttributesClass stays, though deleted, while a claim or a volume has it or is on the way to it.

https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/
"""

from collections.abc import Iterable

from sampan.control import protection
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan
from sampan.control.view import View
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.kind import Object
from sampan.kinds.storage.volume_attributes_class import VOLUMEATTRIBUTESCLASS
from sampan.meta import objects

FINALIZER = "kubernetes.io/vac-protection"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """In use is what any claim or volume names."""
    found = view.get(VOLUMEATTRIBUTESCLASS, key)
    if found is None:
        return Plan()
    users = (PERSISTENTVOLUMECLAIM, PERSISTENTVOLUME) if objects.is_deleting(found) else ()
    in_use = any(key[1] in classes(obj) for kind in users for obj in view.list(kind))
    return protection.keep(VOLUMEATTRIBUTESCLASS, found, FINALIZER, in_use=in_use)


def classes(obj: Object) -> set[str]:
    """The classes that a claim or volume names: wished, had, or on the way."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    named = (spec.get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), target)
    return {name for name in named if name}


def _keys(view: View, obj: Object) -> Iterable[Key]:
    for name in sorted(classes(obj)):
        yield "", name


CONTROLLER = Controller(
    "volumeattributesclass-protection-controller",
    VOLUMEATTRIBUTESCLASS,
    reconcile,
    watches=(Watch(PERSISTENTVOLUMECLAIM, _keys), Watch(PERSISTENTVOLUME, _keys)),
)
