"""A pod goes where the devices are that its claims have, or where they can be had.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sampan.kinds.parts import pod_devices
from sampan.meta import conditions, objects
from sampan.scheduling.devices import extended, wishes
from sampan.scheduling.verdict import Demand, Verdict

NAME = "DynamicResources"
MAX_USERS = 256
IN_USE = "resourceclaim in use"
NOT_HERE = "resourceclaim not available on the node"
LEFT_OVER = "cannot schedule extended resource claim"
NOT_TO_BE_HAD = "cannot fit resource"
DEALLOCATED = "deallocation of ResourceClaim completed"
DELETED = "deletion of ResourceClaim completed"
STILL_NOT = "still not schedulable"

Object = dict[str, Any]
Tree = Mapping[str, Any]


class NotReadyError(Exception):
    """A claim of the pod is not there, or is not for it."""


class Claims(Protocol):
    """What is known of claims and classes."""

    def claim(self, namespace: str, name: str) -> Object | None:
        """A ResourceClaim."""

    def device_class(self, name: str) -> Object | None:
        """A DeviceClass."""

    def is_being_allocated(self, claim: Object) -> bool:
        """Whether devices were found for it that are not written down yet."""


def claims(pod: Demand, known: Claims) -> list[Object]:
    """Those that the pod names, and those that were made for it. Raises NotReadyError."""
    found = []
    for entry in pod_devices.entries(pod.pod):
        name = pod_devices.name_of(pod.pod, entry)
        if name is None:
            raise NotReadyError(f'pod "{pod.namespace}/{objects.name(pod.pod)}": {pod_devices.NOT_CREATED}')
        if name == pod_devices.NOT_NEEDED:
            continue
        claim = known.claim(pod.namespace, name)
        if claim is None:
            raise NotReadyError(f'could not find ResourceClaim "{pod.namespace}/{name}": object not found')
        if objects.is_deleting(claim):
            raise NotReadyError(f'resourceclaim "{name}" is being deleted')
        if pod_devices.is_made(entry) and not pod_devices.is_for(pod.pod, claim):
            raise NotReadyError(pod_devices.not_for_text(pod.pod, claim))
        if claim not in found:
            found.append(claim)
    return found


def fault(pod: Demand, claim: Object, known: Claims) -> str:
    """Why the claim keeps the pod from every node; "" for no reason."""
    if pod_devices.allocation(claim) is not None:
        is_full = len(pod_devices.reservations(claim)) >= MAX_USERS
        return IN_USE if is_full and not pod_devices.is_reserved(pod.pod, claim) else ""
    if known.is_being_allocated(claim):
        return f"resource claim {label(claim)} is in the process of being allocated"
    for request, name in wishes.classes(claim.get("spec") or {}):
        if known.device_class(name) is None:
            return f"request {request}: device class {name} does not exist"
    return ""


def label(claim: Tree) -> str:
    """A claim's name in messages."""
    return "/".join(objects.key(claim))


def verdict(reason: str) -> Verdict:
    """A refusal; the pods on a node play no part in it."""
    return Verdict(NAME, (reason,))


def is_idle(claim: Object, pod: Demand) -> bool:
    """Whether nobody else uses it."""
    return all(each.get("uid") == pod.uid for each in pod_devices.reservations(claim))


def waits(claim: Tree) -> bool:
    """Whether a device of it has to be got ready before a pod is bound."""
    return any(result.get("bindingConditions") for result in pod_devices.results(claim))


def is_ready(claim: Tree) -> bool:
    """Whether all its devices are."""
    return all(
        conditions.is_true(_state(claim, result), wanted)
        for result in pod_devices.results(claim)
        for wanted in result.get("bindingConditions") or ()
    )


def failure(claim: Tree) -> str:
    """Why one of its devices cannot be got ready; "" when none says so."""
    for result in pod_devices.results(claim):
        for name in result.get("bindingFailureConditions") or () if result.get("bindingConditions") else ():
            found = conditions.get(_state(claim, result), name) or {}
            if found.get("status") == "True":
                why = f'reason={found.get("reason") or ""}, message="{found.get("message") or ""}"'
                return f"claim {objects.name(claim)} binding failed: {why}"
    return ""


def _state(claim: Tree, result: Tree) -> Object:
    """What a driver says of a device that was allocated."""
    device = tuple(result.get(field) for field in ("driver", "pool", "device"))
    for each in (claim.get("status") or {}).get("devices") or ():
        if tuple(each.get(field) for field in ("driver", "pool", "device")) == device:
            found: Object = each
            return found
    return {}


def after_claim(old: Object | None, new: Object | None, known: Claims) -> Callable[[Demand, frozenset[str]], bool]:
    """Whether a claim's change may help a pod: its devices are free again, or it is one of the pod's own."""
    is_freed = old is not None and pod_devices.allocation(old) is not None
    is_freed = is_freed and (new is None or pod_devices.allocation(new) is None)
    is_other = new is not None and (old is None or (old.get("status") or {}) != (new.get("status") or {}))

    def helps(waiting: Demand, refusers: frozenset[str]) -> bool:
        if NAME not in refusers:
            return False
        try:
            own = claims(waiting, known)
        except NotReadyError:
            return False
        if new is None and extended.is_for(waiting.pod, old or {}):
            return True
        return is_freed or (is_other and any(objects.uid(each) == objects.uid(new or {}) for each in own))

    return helps


def after_pod(uid: str) -> Callable[[Demand, frozenset[str]], bool]:
    """Whether it may help that a pod was told the names of its claims: that pod alone."""
    return lambda waiting, refusers: waiting.uid == uid and NAME in refusers
