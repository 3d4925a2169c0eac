"""A pod's generic ephemeral volumes get claims that are made for it alone, and go with it.

https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
"""

from collections.abc import Iterable

from sampan.control import own
from sampan.control.controller import Controller, Watch
from sampan.control.plan import NOTHING, Create, Event, Key, Plan, plan, warning
from sampan.control.view import View
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_claims
from sampan.meta import objects

LOOK_AGAIN_SECONDS = 15.0


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Those that are missing are made; one of that name that is not the pod's is told."""
    pod = view.get(POD, key)
    if pod is None or objects.is_deleting(pod):
        return NOTHING
    writes, events = [], []
    for volume in _volumes(pod):
        name = pod_claims.made_name(pod, volume)
        found = view.get(PERSISTENTVOLUMECLAIM, (key[0], name))
        if found is None:
            writes.append(Create(PERSISTENTVOLUMECLAIM, _claim(pod, volume), refused=_told(volume, "{error}")))
        elif not objects.is_controlled_by(found, pod):
            why = f"PVC {key[0]}/{name} was not created for pod {key[0]}/{key[1]} (pod is not owner)"
            events.append(_told(volume, why))
    return plan(writes, events=events, again=LOOK_AGAIN_SECONDS if events else None)


def _volumes(pod: Object) -> list[Object]:
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return [v for v in volumes if (v.get("ephemeral") or {}).get("volumeClaimTemplate") is not None]


def _told(volume: Object, why: str) -> Event:
    return warning("FailedBinding", f"ephemeral volume {volume['name']}: {why}")


def _claim(pod: Object, volume: Object) -> Object:
    template = volume["ephemeral"]["volumeClaimTemplate"]
    described = {f: v for f, v in (template.get("metadata") or {}).items() if f in ("labels", "annotations")}
    name = pod_claims.made_name(pod, volume)
    owners = [objects.owner_reference(own.typed(pod, POD))]
    metadata = {**described, "name": name, "namespace": objects.namespace(pod), "ownerReferences": owners}
    kind = {"apiVersion": PERSISTENTVOLUMECLAIM.api_version, "kind": PERSISTENTVOLUMECLAIM.name}
    return {**kind, "metadata": metadata, "spec": template["spec"]}


def _of_claim(view: View, claim: Object) -> Iterable[Key]:
    """Its pod, when the claim is gone and that is not."""
    owner = objects.controller_of(claim)
    if owner is not None and owner.get("kind") == POD.name and owner.get("apiVersion") == POD.api_version:
        yield objects.namespace(claim), owner["name"]


def _has_some(old: Object | None, new: Object | None) -> bool:
    return new is not None and bool(_volumes(new))


def _is_lost(old: Object | None, new: Object | None) -> bool:
    return new is None


CONTROLLER = Controller(
    name="ephemeral-volume-controller",
    component="ephemeral_volume",
    parent=POD,
    reconcile=reconcile,
    matters=_has_some,
    watches=(Watch(PERSISTENTVOLUMECLAIM, _of_claim, _is_lost),),
)
