"""A claim grows only when it is bound, and its class says that its volumes can grow.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
"""

from sampan.kinds.core import persistent_volume_claim
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.parts import claim_rules
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.meta import status
from sampan.server.admission.chain import UPDATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(UPDATE,), kinds=(PERSISTENTVOLUMECLAIM,))

_UNBOUND = "Only bound persistent volume claims can be expanded"
_FIXED = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403."""
    new, old = attributes.obj, attributes.old
    if attributes.subresource or new is None or old is None:
        return
    if claim_rules.size(new["spec"]).nanos <= claim_rules.size(old["spec"]).nanos:
        return
    why = ""
    if (old.get("status") or {}).get("phase") != persistent_volume_claim.BOUND:
        why = _UNBOUND
    elif not _may_grow(persistent_volume_claim.class_name(new), persistent_volume_claim.class_name(old), lookup):
        why = _FIXED
    if why:
        raise status.forbidden("", PERSISTENTVOLUMECLAIM.plural, attributes.name, why)


def _may_grow(name: str, before: str, lookup: Lookup) -> bool:
    found = lookup.get(STORAGECLASS, "", name) if name and name == before else None
    return found is not None and bool(found.tree.get("allowVolumeExpansion"))
