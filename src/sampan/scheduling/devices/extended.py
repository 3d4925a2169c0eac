"""Extended: extended resources that classes of devices stand behind, and the claim that a pod gets for them. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#extended-resource
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.parts import pod_devices
from sampan.meta import objects, quantity

PREFIX = "deviceclass.resource.kubernetes.io/"

Tree = Mapping[str, Any]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The spec of a claim, and which container gets what of it."""

    spec: Object
    mappings: tuple[Object, ...]


def mapping(classes: Iterable[Tree]) -> dict[str, str]:
    """The class behind each resource. Of several the newest, of those the first by name; each has one of its own."""
    found: dict[str, Tree] = {}
    for each in classes:
        found[PREFIX + objects.name(each)] = each
        name = (each.get("spec") or {}).get("extendedResourceName")
        if name and (name not in found or _comes_before(each, found[name])):
            found[name] = each
    return {name: objects.name(each) for name, each in found.items()}


def _comes_before(one: Tree, other: Tree) -> bool:
    times = [str(objects.metadata(each).get("creationTimestamp") or "") for each in (one, other)]
    return times[0] > times[1] if times[0] != times[1] else objects.name(one) < objects.name(other)


def wanted(pod: Tree, resources: Mapping[str, str]) -> Wanted:
    """What a claim asks for in place of these resources of the pod's containers."""
    requests: list[Object] = []
    mappings: list[Object] = []
    for resource in sorted(resources):
        found = _Requests(pod, resource)
        mappings += found.mappings
        for name, count in found.counts.items():
            exactly = {"deviceClassName": resources[resource], "allocationMode": "ExactCount", "count": count}
            requests.append({"name": name, "exactly": exactly})
    return Wanted({"devices": {"requests": sorted(requests, key=lambda each: str(each["name"]))}}, tuple(mappings))


def claim(pod: Tree, spec: Tree) -> Object:
    """The claim to be made for the pod."""
    owner = {**pod, "apiVersion": "v1", "kind": "Pod"}
    metadata = {
        "generateName": f"{objects.name(pod)}-extended-resources-",
        "namespace": objects.namespace(pod),
        "annotations": {pod_devices.EXTENDED_ANNOTATION: "true"},
        "ownerReferences": [objects.owner_reference(owner)],
    }
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata, "spec": dict(spec)}


def status(name: str, mappings: Sequence[Object]) -> Object:
    """What the pod is told of its claim."""
    return {"extendedResourceClaimStatus": {"requestMappings": list(mappings), "resourceClaimName": name}}


def is_for(pod: Tree, found: Tree) -> bool:
    """Whether a claim is the one that was made for the pod's extended resources."""
    return objects.annotations(found).get(pod_devices.EXTENDED_ANNOTATION) == "true" and pod_devices.is_for(pod, found)


class _Requests:
    """Of one resource: how many devices each request is for, and which container has which requests.

    What runs together gets devices of its own. What only runs at the start uses those of what comes after it, and
    shares what it needs beyond them with the others that do.
    """

    def __init__(self, pod: Tree, resource: str) -> None:
        self._resource = resource
        self.counts: dict[str, int] = {}
        self.mappings: list[Object] = []
        parts = pod.get("spec") or {}
        starting = [*(parts.get("initContainers") or ())]
        containers = [*starting, *(parts.get("containers") or ())]
        is_brief = [each.get("restartPolicy") != "Always" for each in starting] + [False] * len(containers)
        lasting: dict[int, str] = {}
        for at, container in enumerate(containers):
            if not is_brief[at] and (amount := self._amount(container)):
                lasting[at] = self._name(at, container)
                self.counts[lasting[at]] = amount
                self._map(container, lasting[at])
        self._start({at: each for at, each in enumerate(starting) if is_brief[at]}, lasting)

    def _start(self, brief: Mapping[int, Tree], lasting: Mapping[int, str]) -> None:
        uses: list[tuple[Tree, list[str]]] = []
        extra, most = "", 0
        for at, container in brief.items():
            missing, used = self._amount(container), list[str]()
            for name in (name for other, name in lasting.items() if other >= at and missing > 0):
                if missing > 0:
                    used.append(name)
                    missing -= self.counts[name]
            if missing > most:
                extra, most = self._name(at, container), missing
            uses.append((container, [*used, ""] if missing > 0 else used))
        if extra:
            self.counts[extra] = most
        for container, used in uses:
            for name in used:
                self._map(container, name or extra)

    def _amount(self, container: Tree) -> int:
        return quantity.to_int(_amounts(container).get(self._resource) or 0)

    def _name(self, at: int, container: Tree) -> str:
        return f"container-{at}-request-{sorted(_amounts(container)).index(self._resource)}"

    def _map(self, container: Tree, request: str) -> None:
        about = {"containerName": container["name"], "resourceName": self._resource}
        self.mappings.append({**about, "requestName": request})


def _amounts(container: Tree) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (container.get("resources") or {}).get("requests") or {}
    return found
