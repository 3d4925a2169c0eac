"""A claim that asks for more than it has: whoever provided its volume has to see to it; that is told.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
"""

from sampan.control.controller import Controller
from sampan.control.plan import NOTHING, Key, Plan, normal, plan, warning
from sampan.control.view import View
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.parts import claim_rules, local_volumes, volume_match
from sampan.meta import objects, quantity

OF_CSI = "Ignoring the PVC: waiting for an external controller to expand this PVC."
OF_OTHERS = (
    "Ignoring the PVC: didn't find a plugin capable of expanding the volume; waiting for an external controller to "
    "process this PVC."
)


def reconcile(view: View, key: Key, now: float) -> Plan:
    """No volume is made bigger here; local ones are by their provisioner."""
    claim = view.get(PERSISTENTVOLUMECLAIM, key)
    if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
        return NOTHING
    has = quantity.parse((claim["status"].get("capacity") or {}).get("storage") or "0")
    if claim_rules.size(claim["spec"]).nanos <= has.nanos:
        return NOTHING
    volume = view.get(PERSISTENTVOLUME, ("", claim["spec"].get("volumeName") or ""))
    if volume is None or (volume["spec"].get("claimRef") or {}).get("uid") != objects.uid(claim):
        return NOTHING
    if objects.annotations(volume).get(volume_match.PROVISIONED_BY) == local_volumes.PROVISIONER:
        return NOTHING
    is_csi = volume["spec"].get("csi") is not None
    told = normal("ExternalExpanding", OF_CSI) if is_csi else warning("ExternalExpanding", OF_OTHERS)
    return plan(events=[told])


CONTROLLER = Controller(
    name="expand-controller",
    component="volume_expand",
    parent=PERSISTENTVOLUMECLAIM,
    reconcile=reconcile,
    reads=(PERSISTENTVOLUME,),
)
