"""Moments that only the server knows: when a volume's phase changed, when a device was tainted."""

from typing import Any

from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.resource.resource_slice import RESOURCESLICE
from sampan.meta import timestamps
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE, UPDATE), kinds=(PERSISTENTVOLUME, RESOURCESLICE))

Tree = dict[str, Any]


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Writes them where the client left them out."""
    obj = attributes.obj
    if obj is None:
        return
    now = timestamps.format(attributes.call.now)
    if attributes.kind == PERSISTENTVOLUME and attributes.subresource == "status":
        _stamp_phase(obj.get("status") or {}, (attributes.old or {}).get("status") or {}, now)
    elif attributes.kind == RESOURCESLICE:
        for device in (obj.get("spec") or {}).get("devices") or ():
            for taint in device.get("taints") or ():
                taint.setdefault("timeAdded", now)


def _stamp_phase(status: Tree, before: Tree, now: str) -> None:
    field = "lastPhaseTransitionTime"
    is_changed = status.get("phase") != before.get("phase")
    if is_changed and status.get(field) in (None, before.get(field)):
        status[field] = now
