"""A volume that is bound to a claim stays, though deleted, until the claim lets it go.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from sampan.control import protection
from sampan.control.controller import Controller
from sampan.control.plan import Key, Plan
from sampan.control.view import View
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME

FINALIZER = "kubernetes.io/pv-protection"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """In use is what is Bound."""
    volume = view.get(PERSISTENTVOLUME, key)
    if volume is None:
        return Plan()
    in_use = (volume.get("status") or {}).get("phase") == "Bound"
    return protection.keep(PERSISTENTVOLUME, volume, FINALIZER, in_use=in_use)


CONTROLLER = Controller("pv-protection-controller", PERSISTENTVOLUME, reconcile)
