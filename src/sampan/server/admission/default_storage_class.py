"""A claim that does not say which storage it wants gets the default class: the newest that is marked so.

https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass
"""

from sampan.kinds.core import persistent_volume_claim
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.storage import storage_class
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE,), kinds=(PERSISTENTVOLUMECLAIM,))


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Names the class in a new claim."""
    claim = attributes.obj
    if claim is None or attributes.subresource or persistent_volume_claim.has_class(claim):
        return
    default = storage_class.newest_default(item.tree for item in lookup.all(STORAGECLASS))
    if default is not None:
        claim["spec"]["storageClassName"] = default
