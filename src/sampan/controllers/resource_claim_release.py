"""A ResourceClaim is given back by pods that are done; what nobody uses loses its devices, or goes with its pod.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from collections.abc import Iterable
from dataclasses import replace

from sampan.control import decorate
from sampan.control.controller import Controller, Watch
from sampan.control.plan import NOTHING, Ask, Delete, Key, Plan, Update, Write, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod as pods
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_devices
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.meta import objects

SETTLED_SECONDS = 60.0
"""Who allocates puts the finalizer on first. One without an allocation after so long was left by somebody killed."""


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Reservations, then the allocation, then the finalizer, then the claim. Memory: that it has just been given back."""
    claim = view.get(RESOURCECLAIM, key)
    if claim is None:
        return Plan(memory={})
    reserved = pod_devices.reservations(claim)
    if any(each.get("apiGroup") or each.get("resource") != "pods" for each in reserved):
        return NOTHING  # somebody else's to give back
    ask = tuple(Ask(POD, (key[0], each["name"])) for each in reserved if view.get(POD, (key[0], each["name"])) is None)
    if any(view.answer(question) is UNANSWERED for question in ask):
        return Plan(ask=ask)
    kept = [each for each in reserved if _is_kept(view, key[0], each)]
    if len(kept) < len(reserved):
        return _given_back(claim, kept)
    if kept:
        return Plan(memory={})
    return _unused(view, claim)


def _is_kept(view: View, namespace: str, reservation: Object) -> bool:
    """Whether the pod may still run. Of one that is not known yet, the server has been asked."""
    question = Ask(POD, (namespace, reservation["name"]))
    pod = view.get(POD, question.key)
    if pod is None:
        live = view.answer(question)
        return live is not None and objects.uid(live) == reservation.get("uid")
    return objects.uid(pod) == reservation.get("uid") and not _is_done(pod)


def _is_done(pod: Object) -> bool:
    """Whether none of its containers runs or ever will."""
    return pods.is_terminal(pod) or (objects.is_deleting(pod) and not pods.is_scheduled(pod))


def _given_back(claim: Object, kept: list[Object]) -> Plan:
    """The last one out gives back the devices."""
    status = {**claim["status"], "reservedFor": kept}
    is_free = not kept and pod_devices.FINALIZER in objects.finalizers(claim)
    if is_free:
        status.pop("allocation", None)
    return replace(plan(decorate.status(RESOURCECLAIM, claim, status)), memory={"is_free": True} if is_free else {})


def _unused(view: View, claim: Object) -> Plan:
    finalizers = objects.finalizers(claim)
    is_allocated = pod_devices.allocation(claim) is not None
    writes: tuple[Write, ...] = ()
    again = None
    if pod_devices.FINALIZER in finalizers:
        seconds = view.age_seconds(RESOURCECLAIM, objects.key(claim))
        if is_allocated and objects.is_deleting(claim):
            status = {name: value for name, value in claim["status"].items() if name != "allocation"}
            return plan([Update(RESOURCECLAIM, {**claim, "status": status}, "status")])
        if not is_allocated and (objects.is_deleting(claim) or view.memory or seconds >= SETTLED_SECONDS):
            left = [name for name in finalizers if name != pod_devices.FINALIZER]
            writes = decorate.metadata(RESOURCECLAIM, claim, finalizers=left)
        elif not is_allocated:
            again = SETTLED_SECONDS - seconds
    return replace(plan(writes, _without_pod(view, claim), again=again), memory={})


def _without_pod(view: View, claim: Object) -> Iterable[Write]:
    """One that was made for a pod that will not run goes, though the pod may stay."""
    owner = objects.controller_of(claim)
    if owner is None or objects.is_deleting(claim) or (owner.get("apiVersion"), owner.get("kind")) != ("v1", POD.name):
        return
    pod = view.get(POD, (objects.namespace(claim), owner["name"]))
    if pod is not None and (objects.uid(pod) != owner.get("uid") or _is_done(pod)):
        yield Delete(RESOURCECLAIM, objects.key(claim), objects.uid(claim))


def _keys(view: View, pod: Object) -> Iterable[Key]:
    names = [*pod_devices.names(pod), *(objects.name(claim) for claim in view.owned(pod, RESOURCECLAIM))]
    for name in dict.fromkeys(names):
        yield objects.namespace(pod), name


def _matters(old: Object | None, new: Object | None) -> bool:
    """A pod with claims comes, goes or is done."""
    if not _has_claims(new) and not _has_claims(old):
        return False
    return old is None or new is None or objects.uid(old) != objects.uid(new) or _is_done(new) != _is_done(old)


def _has_claims(pod: Object | None) -> bool:
    return pod is not None and bool(pod["spec"].get("resourceClaims") or pod_devices.extended_name(pod))


CONTROLLER = Controller(
    name="resource-claim-releaser",
    component="resource_claim",
    parent=RESOURCECLAIM,
    reconcile=reconcile,
    watches=(Watch(POD, _keys, _matters),),
    workers=10,
)
