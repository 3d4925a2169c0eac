"""What every cluster has from its first second: namespaces, default roles, the API's own Service.

Roles are brought up to date at each start, unless someone set
rbac.authorization.kubernetes.io/autoupdate to false on them.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind
from sampan.kinds.rbac import bootstrap as roles
from sampan.meta import objects
from sampan.server.app import App
from sampan.server.identity import LOOPBACK, MASTERS_GROUP
from sampan.web.message import Peer, Request

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
PEER = Peer(LOOPBACK.name, (MASTERS_GROUP,))

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where pods reach the API and DNS: the Services' addresses, and what is behind them.

    Without DNS addresses (a simulated cluster) there is no kube-dns Service.
    """

    api_service_ip: str
    api_address: str
    api_port: int
    dns_service_ip: str = ""
    dns_addresses: tuple[str, ...] = ()


async def ensure(app: App, endpoints: Endpoints) -> None:
    """Creates what is missing and corrects what is ours."""
    await asyncio.gather(*(_ensure(app, NAMESPACE, _namespace(name)) for name in NAMESPACES))
    await asyncio.gather(*(_ensure(app, kind, obj, autoupdate=True) for kind, obj in roles.objects()))
    await _ensure(app, SERVICE, _api_service(endpoints))
    await _ensure(app, ENDPOINTSLICE, _api_slice(endpoints), autoupdate=True)
    if endpoints.dns_addresses:
        await _ensure(app, SERVICE, _dns_service(endpoints))
        await _ensure(app, ENDPOINTSLICE, _dns_slice(endpoints), autoupdate=True)


async def _ensure(app: App, kind: Kind, wanted: Tree, *, autoupdate: bool = False) -> None:
    namespace, name = objects.namespace(wanted), objects.name(wanted)
    item = app.registry.get(kind, namespace, name)
    if item is None:
        await _send(app, "POST", kind.path(namespace), wanted)
    elif autoupdate and objects.annotations(item.tree).get(AUTOUPDATE) != "false" and not _holds(item.tree, wanted):
        merged = {**item.copy(), **{k: v for k, v in wanted.items() if k != "metadata"}}
        await _send(app, "PUT", kind.path(namespace, name), merged)


def _holds(live: Tree, wanted: Tree) -> bool:
    return all(live.get(key) == value for key, value in wanted.items() if key != "metadata")


async def _send(app: App, method: str, path: str, body: Tree) -> None:
    request = Request(method, path, (), {"user-agent": "sampan-apiserver"}, body, PEER)
    response = await app.handle(request)
    if response.status not in (200, 201, 409):
        raise RuntimeError(f"{method} {path}: {response.body!r}")


def _namespace(name: str) -> Tree:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}


def _api_service(endpoints: Endpoints) -> Tree:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": endpoints.api_port}
    return _service("default", "kubernetes", labels, (endpoints.api_service_ip, [port]))


def _api_slice(endpoints: Endpoints) -> Tree:
    ports = [{"name": "https", "port": endpoints.api_port, "protocol": "TCP"}]
    return _slice("default", "kubernetes", (endpoints.api_address,), ports)


def _dns_service(endpoints: Endpoints) -> Tree:
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return _service("kube-system", "kube-dns", labels, (endpoints.dns_service_ip, ports))


def _dns_slice(endpoints: Endpoints) -> Tree:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    return _slice("kube-system", "kube-dns", endpoints.dns_addresses, ports)


def _service(namespace: str, name: str, labels: Tree, served: tuple[str, list[Tree]]) -> Tree:
    """A Service without a selector: its endpoints are ours to write. `served`: address, ports."""
    address, ports = served
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    spec = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": ports}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {**spec, "sessionAffinity": "None"}}


def _slice(namespace: str, service: str, addresses: tuple[str, ...], ports: list[Tree]) -> Tree:
    metadata = {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}}
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": ports,
    }
