"""From a Service to an address that answers for it: a ready endpoint, through its EndpointSlices.

Callers are webhooks and extension API servers (`resolve`) and the services/proxy subresource
(`pod_backed`), which reaches nothing but pods of the Service's own namespace.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, SERVICE_NAME_LABEL
from sampan.kinds.kind import Kind
from sampan.meta import status
from sampan.server.cache import Item
from sampan.server.outbound import is_proxyable

Tree = dict[str, Any]


class Objects(Protocol):
    """The live objects; admission's Lookup is one."""

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None: ...

    def all(self, kind: Kind, namespace: str = "") -> Sequence[Item]: ...


class Whole:
    """The live objects for a server that is as simulated as its nodes: what runs on those may be called."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None:
        return None if kind is NODE else self._objects.get(kind, namespace, name)

    def all(self, kind: Kind, namespace: str = "") -> Sequence[Item]:
        return self._objects.all(kind, namespace)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Service answers, and the name that its certificate must bear."""

    host: str
    port: int
    server_name: str


def resolve(objects: Objects, namespace: str, name: str, port: int, turn: int = 0) -> Place:
    """A ready endpoint of the Service's port, or its external name.

    `turn` chooses among several: a counter spreads the load. Raises ApiError 404 without the Service, 503
    without the port or an endpoint, 500 for a Service that has neither.
    """
    service = find(objects, namespace, name)
    spec = service.get("spec") or {}
    server_name = f"{name}.{namespace}.svc"
    if spec.get("type") == "ExternalName":
        return Place(spec["externalName"], port, server_name)
    wanted = port_named(service, port)
    places = [
        Place(address, number, server_name)
        for endpoint, number in endpoints(objects, namespace, name, wanted)
        for address in endpoint["addresses"]
        if is_proxyable(address)
    ]
    if not places:
        raise no_endpoints(name)
    return places[turn % len(places)]


def pod_backed(objects: Objects, namespace: str, name: str, port_name: str, turn: int = 0) -> tuple[str, int] | None:
    """Address and port of a ready endpoint that is a pod of this namespace; None when there is none."""
    found = [
        (address, number)
        for endpoint, number in endpoints(objects, namespace, name, port_name)
        for address in endpoint["addresses"]
        if is_proxyable(address) and _is_pods_own(objects, namespace, endpoint, address)
    ]
    return found[turn % len(found)] if found else None


def find(objects: Objects, namespace: str, name: str) -> Tree:
    """The Service. Raises ApiError 404."""
    item = objects.get(SERVICE, namespace, name)
    if item is None:
        raise status.not_found("", "services", name)
    return item.tree


def port_named(service: Tree, number: int) -> str:
    """The name of the Service's port with this number. Raises ApiError 503."""
    for port in (service.get("spec") or {}).get("ports") or ():
        if port["port"] == number:
            return port.get("name") or ""
    name = service["metadata"]["name"]
    raise status.unavailable(f'no service port {number} found for service "{name}"')


def no_endpoints(name: str) -> status.ApiError:
    return status.unavailable(f'no endpoints available for service "{name}"')


def endpoints(objects: Objects, namespace: str, name: str, port_name: str) -> Iterator[tuple[Tree, int]]:
    """Each ready endpoint behind the Service's port of this name, with the number that it listens on there.

    The addresses of pods on simulated nodes are made up, and may be somebody else's: they are never called.
    """
    for item in objects.all(ENDPOINTSLICE, namespace):
        if item.labels.get(SERVICE_NAME_LABEL) != name or item.tree.get("addressType") == "FQDN":
            continue
        number = next((p.get("port") for p in item.tree.get("ports") or () if (p.get("name") or "") == port_name), None)
        if number is None:
            continue
        for endpoint in item.tree.get("endpoints") or ():
            if is_ready(endpoint) and not is_simulated(objects, endpoint.get("nodeName") or ""):
                yield endpoint, number


def is_ready(endpoint: Tree) -> bool:
    """An endpoint whose readiness nobody tells counts as ready."""
    return (endpoint.get("conditions") or {}).get("ready") is not False


def is_simulated(objects: Objects, node_name: str) -> bool:
    """Whether a node only pretends to run pods."""
    item = objects.get(NODE, "", node_name) if node_name else None
    if item is None:
        return False
    info = (item.tree.get("status") or {}).get("nodeInfo") or {}
    return str(info.get("containerRuntimeVersion", "")).startswith("simulated://")


def _is_pods_own(objects: Objects, namespace: str, endpoint: Tree, address: str) -> bool:
    """Whether the address is that of the pod which the endpoint says it is."""
    reference = endpoint.get("targetRef") or {}
    if reference.get("kind") != "Pod" or reference.get("namespace") != namespace:
        return False
    pod = objects.get(POD, namespace, reference.get("name") or "")
    if pod is None:
        return False
    return address in [entry.get("ip") for entry in (pod.tree.get("status") or {}).get("podIPs") or ()]
