"""Who has which devices: the pod-resources service, for monitoring agents on the node.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.meta import objects
from sampan.node import podspec
from sampan.node.plugins.book import Book, Resource
from sampan.node.plugins.claims import Claims
from sampan.node.snapshot import TERMINAL

SOCKET = "kubelet.sock"

Object = dict[str, Any]


class PodResources:
    """Answers for one node. `pods` gives those that are bound to it."""

    def __init__(self, book: Book, claims: Claims, pods: Callable[[], Iterable[Object]]) -> None:
        """Asks them each time."""
        self._book, self._claims, self._pods = book, claims, pods

    def answers(self) -> Mapping[Any, Any]:
        """Who answers which method."""
        from sampan.node.plugins.pod_resources_api import LISTER

        found = {"List": self._list, "GetAllocatableResources": self._allocatable, "Get": self._get}
        return {LISTER[name]: answer for name, answer in found.items()}

    async def _list(self, request: Object) -> Object:
        active = [pod for pod in self._pods() if (pod.get("status") or {}).get("phase") not in TERMINAL]
        return {"pod_resources": [self._of(pod) for pod in active]}

    async def _get(self, request: Object) -> Object:
        from sampan.node.rpc.service import RpcError

        wanted = request["pod_namespace"], request["pod_name"]
        for pod in self._pods():
            if objects.key(pod) == wanted:
                return {"pod_resources": self._of(pod)}
        raise RpcError("Unknown", f"pod {wanted[1]} in namespace {wanted[0]} not found")

    async def _allocatable(self, request: Object) -> Object:
        devices = [
            each
            for name, resource in sorted(self._book.resources.items())
            for each in _near(name, sorted(resource.healthy), resource)
        ]
        return {"devices": devices}

    def _of(self, pod: Object) -> Object:
        inits = [container for container in podspec.init_containers(pod) if podspec.is_sidecar(container)]
        containers = [self._container(pod, container) for container in (*inits, *podspec.app_containers(pod))]
        return {"name": objects.name(pod), "namespace": objects.namespace(pod), "containers": containers}

    def _container(self, pod: Object, container: Object) -> Object:
        had = self._book.had.get((objects.uid(pod), container["name"]), {})
        devices = [
            each
            for name, mine in sorted(had.items())
            for each in _near(name, mine.devices, self._book.resources.get(name, Resource()))
        ]
        return {"name": container["name"], "devices": devices, "dynamic_resources": self._dynamic(pod, container)}

    def _dynamic(self, pod: Object, container: Object) -> list[Object]:
        found: dict[str, Object] = {}
        for claim, driver, device in self._claims.used(pod, container):
            empty = {"claim_name": claim.name, "claim_namespace": claim.namespace, "claim_resources": []}
            resource = {
                "cdi_devices": [{"name": name} for name in device["cdi_device_ids"]],
                "driver_name": driver,
                "pool_name": device["pool_name"],
                "device_name": device["device_name"],
                "share_id": device.get("share_id"),
            }
            resources = found.setdefault(claim.name, empty)["claim_resources"]
            if resource not in resources:
                resources.append(resource)
        return list(found.values())


def _near(name: str, devices: list[str], resource: Resource) -> list[Object]:
    """Devices of a resource, those together that are near the same NUMA nodes."""
    found: dict[tuple[int, ...], list[str]] = {}
    for device in devices:
        found.setdefault(resource.numa_nodes(device), []).append(device)
    return [
        {
            "resource_name": name,
            "device_ids": together,
            "topology": {"nodes": [{"ID": node} for node in nodes]} if nodes else None,
        }
        for nodes, together in sorted(found.items())
    ]
