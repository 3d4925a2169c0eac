"""Devices: a pod starts only once the claims behind it are its own, and the drivers of their devices are on the node.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from collections.abc import Callable, Mapping
from typing import Any

from sampan.kinds.parts import pod_devices
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.meta import objects
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]

REASON = "FailedPrepareDynamicResources"


def names(pod: Object) -> list[str]:
    """The claims that the pod needs here. Raises VolumeFailure where one has not been made yet."""
    if any(pod_devices.name_of(pod, entry) is None for entry in pod_devices.entries(pod)):
        raise failure(f'pod "{objects.namespace(pod)}/{objects.name(pod)}": {pod_devices.NOT_CREATED}')
    return pod_devices.names(pod)


def check(pod: Object, claims: Mapping[str, Object], has_driver: Callable[[str], bool]) -> None:
    """`claims` are those that are there, by name. Raises VolumeFailure with the reason why the pod can't start."""
    made = {pod_devices.name_of(pod, entry) for entry in pod_devices.entries(pod) if pod_devices.is_made(entry)}
    for name in names(pod):
        claim = claims.get(name)
        if claim is None:
            raise failure(f'fetch ResourceClaim {name}: {RESOURCECLAIM.resource} "{name}" not found')
        if name in made and not pod_devices.is_for(pod, claim):
            raise failure(pod_devices.not_for_text(pod, claim))
        if not pod_devices.is_reserved(pod, claim):
            who = f"pod {objects.name(pod)} ({objects.uid(pod)})"
            raise failure(f"{who} is not allowed to use ResourceClaim {name} ({objects.uid(claim)})")
        for driver in pod_devices.drivers(claim):
            if not has_driver(driver):
                raise failure(f"DRA driver {driver} is not registered")


def failure(why: str) -> VolumeFailure:
    """In the kubelet's words."""
    return VolumeFailure(f"Failed to prepare dynamic resources: prepare dynamic resources: {why}", REASON)
