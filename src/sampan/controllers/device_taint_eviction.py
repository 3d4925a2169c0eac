"""Device taint eviction: pods leave devices whose NoExecute taints their claims don't tolerate, or not for longer.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#device-taints-and-tolerations
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Delete, Key, Patch, Plan, normal, plan
from sampan.control.pods import disruption_target
from sampan.control.view import View
from sampan.kinds.core import pod as pods
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import node_match, pod_devices
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.kinds.resource.resource_slice import RESOURCESLICE
from sampan.meta import objects, timestamps

REASON = "DeviceTaintManagerEviction"
POOL = "spec.pool.name"
GIVEN = "status.allocation.devices.results.pool"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Deletes the pod when its time has come. Memory: that it is to be deleted at some time."""
    pod = view.get(POD, key)
    if pod is None or objects.is_deleting(pod) or pods.is_terminal(pod):
        return Plan(memory={})
    due = min(_dues(view, pod), default=None) if pods.is_scheduled(pod) else None
    if due is None:
        told = [normal(REASON, "Cancelling deletion")] if view.memory else []
        return Plan(events=tuple(told), memory={})
    if due > now:
        return Plan(again=due - now, memory={"is_to_go": True})
    gone = Delete(POD, key, objects.uid(pod))
    return plan([_mark(pod, now)], [gone], events=[normal(REASON, "Marking for deletion")])


def _dues(view: View, pod: Object) -> Iterable[float]:
    """When the devices of its claims are to be free of it."""
    for entry in pod_devices.entries(pod):
        name = pod_devices.name_of(pod, entry)
        claim = view.get(RESOURCECLAIM, (objects.namespace(pod), name)) if name else None
        if claim is None or (pod_devices.is_made(entry) and not pod_devices.is_for(pod, claim)):
            continue
        if pod_devices.is_reserved(pod, claim):
            for given in pod_devices.results(claim):
                yield from _dues_of(view, given)


def _dues_of(view: View, given: Object) -> Iterable[float]:
    """Of a toleration of an unnamed effect nothing is said here: it lets a device be given, and no more."""
    tolerations = [t for t in given.get("tolerations") or () if t.get("effect") == node_match.NO_EXECUTE]
    for taint in _taints(view, given):
        covering = [t for t in tolerations if node_match.covers(t, taint)]
        seconds = [max(t["tolerationSeconds"], 0) for t in covering if t.get("tolerationSeconds") is not None]
        if len(seconds) == len(covering):
            added = timestamps.parse(taint["timeAdded"]) if taint.get("timeAdded") else 0.0
            yield added + min(seconds, default=0)


def _taints(view: View, given: Object) -> Iterable[Object]:
    """Those of the device that bear on pods that run, as the newest generation of its pool says."""
    slices = [
        each
        for each in view.indexed(RESOURCESLICE, POOL, given.get("pool") or "")
        if each["spec"].get("driver") == given.get("driver")
    ]
    newest = max((_generation(each) for each in slices), default=0)
    for each in slices:
        for device in (each["spec"].get("devices") or ()) if _generation(each) == newest else ():
            if device.get("name") == given.get("device"):
                yield from (t for t in device.get("taints") or () if t.get("effect") == node_match.NO_EXECUTE)


def _generation(piece: Object) -> int:
    return int(piece["spec"]["pool"].get("generation") or 0)


def _mark(pod: Object, now: float) -> Patch:
    message = "Device Taint manager: deleting due to NoExecute taint"
    condition = disruption_target(pod, "DeletionByDeviceTaintManager", message, now)
    patch = {"metadata": {"uid": objects.uid(pod)}, "status": {"conditions": [condition]}}
    return Patch(POD, objects.key(pod), patch, "strategic", "status")


def _of_claim(view: View, claim: Object) -> Iterable[Key]:
    """Who uses it."""
    for each in pod_devices.reservations(claim):
        yield objects.namespace(claim), each["name"]


def _of_slice(view: View, piece: Object) -> Iterable[Key]:
    """Who uses devices of its pool."""
    for claim in view.indexed(RESOURCECLAIM, GIVEN, piece["spec"]["pool"]["name"]):
        yield from _of_claim(view, claim)


def _is_another_slice(old: Object | None, new: Object | None) -> bool:
    """Whether taints may have come or gone."""
    return old is None or new is None or old["spec"] != new["spec"]


def _matters(old: Object | None, new: Object | None) -> bool:
    """A pod with claims gets a node, or other claims."""
    if new is None or not new["spec"].get("resourceClaims"):
        return False
    return old is None or pods.is_scheduled(old) != pods.is_scheduled(new) or _made(old) != _made(new)


def _made(pod: Object) -> object:
    return (pod.get("status") or {}).get("resourceClaimStatuses")


CONTROLLER = Controller(
    name="device-taint-eviction-controller",
    parent=POD,
    reconcile=reconcile,
    watches=(Watch(RESOURCECLAIM, _of_claim), Watch(RESOURCESLICE, _of_slice, _is_another_slice)),
    indexes=(Index(RESOURCESLICE, POOL), Index(RESOURCECLAIM, GIVEN)),
    workers=10,
    matters=_matters,
)
