"""Volumes, claims and classes of volume attributes that are in use are not deleted: a finalizer keeps each.

Controllers take it away when nothing uses the object any more.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.storage.volume_attributes_class import VOLUMEATTRIBUTESCLASS
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

FINALIZERS = {
    PERSISTENTVOLUME: "kubernetes.io/pv-protection",
    PERSISTENTVOLUMECLAIM: "kubernetes.io/pvc-protection",
    VOLUMEATTRIBUTESCLASS: "kubernetes.io/vac-protection",
}
CONCERNS = Concern(operations=(CREATE,), kinds=tuple(FINALIZERS))


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Adds the finalizer to a new object."""
    if attributes.subresource or attributes.obj is None:
        return
    finalizer = FINALIZERS[attributes.kind]
    metadata = attributes.obj["metadata"]
    present = metadata.get("finalizers") or []
    if finalizer not in present:
        metadata["finalizers"] = [*present, finalizer]
