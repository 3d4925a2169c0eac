"""What every cluster has from its first second: namespaces, default roles, the API's own Service.

Roles are brought up to date at each start, unless someone set
rbac.authorization.kubernetes.io/autoupdate to false on them. Namespaces, the API's Service with its
endpoints, the default ServiceCIDR and the objects of flow control come back whenever they are deleted.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation
"""

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.endpoints import ENDPOINTS, SKIP_MIRROR_LABEL
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.flowcontrol import bootstrap as flow_control
from sampan.kinds.flowcontrol import flow_schema
from sampan.kinds.flowcontrol.flow_schema import FLOWSCHEMA
from sampan.kinds.kind import Kind
from sampan.kinds.networking import service_cidr
from sampan.kinds.networking.service_cidr import SERVICECIDR
from sampan.kinds.parts import local_volumes
from sampan.kinds.rbac import bootstrap as roles
from sampan.kinds.scheduling.priority_class import PRIORITYCLASS, SYSTEM_CLASSES
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.meta import conditions, objects, timestamps
from sampan.server import keeper, legacy_tokens, request_info
from sampan.server.aggregation import registration
from sampan.server.api_servers import Server
from sampan.server.app import START_STEPS, App
from sampan.server.authz import reconcile
from sampan.server.call import Call
from sampan.server.identity import LOOPBACK, MASTERS_GROUP
from sampan.server.registry import Seed
from sampan.web.message import Peer, Request

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
PEER = Peer(LOOPBACK.name, (MASTERS_GROUP,))
HEADERS = {"user-agent": "sampan-apiserver"}
API_SERVICE = "kubernetes"
SERVICE_LABEL = "kubernetes.io/service-name"
TOGETHER = 100
"""So many writes at once; an etcd takes 128."""

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where pods reach the API and DNS: the Services' addresses, and what is behind them.

    Without DNS addresses (a simulated cluster) there is no kube-dns Service. `service_cidr` is a range, or one of each
    family with a comma. `find` tells the addresses and ports of all API servers, where there are several; `servers` are
    those that it told.
    """

    api_service_ip: str
    api_address: str
    api_port: int
    dns_service_ip: str = ""
    dns_addresses: tuple[str, ...] = ()
    service_cidr: str = "10.96.0.0/16"
    find: Callable[[], Awaitable[tuple[Server, ...]]] | None = None
    servers: tuple[Server, ...] = ()

    async def found(self) -> "Endpoints":
        """With the servers that there are now."""
        return self if self.find is None else dataclasses.replace(self, servers=await self.find())

    @property
    def by_port(self) -> dict[int, list[str]]:
        """The servers' addresses by their ports, of which there is mostly one."""
        found: dict[int, list[str]] = {}
        for address, port in self.servers or ((self.api_address, self.api_port),):
            found.setdefault(port, []).append(address)
        return found


async def ensure(app: App, endpoints: Endpoints) -> None:
    """Creates what is missing and corrects what is ours."""
    app.serve_at(endpoints.api_address, endpoints.api_port)
    endpoints = await endpoints.found()
    planted = await _plant(app)
    await asyncio.gather(*(_ensure(app, NAMESPACE, _namespace(name)) for name in NAMESPACES))
    await asyncio.gather(  # together, so that few commits hold them all
        *(_ensure_rbac(app, kind, obj) for kind, obj in (() if planted else roles.objects())),
        *(_ensure(app, PRIORITYCLASS, obj) for obj in SYSTEM_CLASSES),
        _ensure(app, STORAGECLASS, local_volumes.default_class()),
        _ensure_flow_control(app),
        _ensure_network(app, endpoints),
        _ensure_token_tracking(app),
        app.aggregator.register(),
    )
    app.keeper.keep(_kept(endpoints), functools.partial(mend, app, endpoints))
    app.health.done(*START_STEPS)


async def _plant(app: App) -> bool:
    """Gives a new store at once what needs no look at anything else; what then is missing is asked for as by any client.

    Whether nothing of it is missing. A server that keeps a record of its requests makes them all.
    """
    if app.is_recorded or app.registry.all(NAMESPACE):
        return False
    asked = functools.cache(functools.partial(_asked, app))
    seeds = [_seed(asked, kind, obj, app.now()) for kind, obj in _seeds(app)]
    groups = [seeds[start : start + TOGETHER] for start in range(0, len(seeds), TOGETHER)]
    return all([await app.registry.plant(group) for group in groups])


def _seeds(app: App) -> Iterator[tuple[Kind, Tree]]:
    yield from ((NAMESPACE, _namespace(name)) for name in NAMESPACES)
    yield from roles.objects()
    yield from ((PRIORITYCLASS, obj) for obj in SYSTEM_CLASSES)
    yield STORAGECLASS, local_volumes.default_class()
    yield from flow_control.objects()
    yield from ((APISERVICE, obj) for obj in registration.wanted(app.served.all()).values())


def _seed(asked: Callable[[str, Kind, str], Call], kind: Kind, obj: Tree, now: float) -> Seed:
    made = asked("", kind, objects.namespace(obj)), objects.copy(obj)
    return Seed(*made, asked("status", kind, ""), _flow_state(obj, now)) if kind is FLOWSCHEMA else Seed(*made)


def _asked(app: App, subresource: str, kind: Kind, namespace: str) -> Call:
    """The request to which the object would come, or its state."""
    method, path = ("PUT", kind.path(namespace, "any", subresource)) if subresource else ("POST", kind.path(namespace))
    request = Request(method, path, (), HEADERS, b"", PEER)
    info = request_info.parse(request)
    served = app.served.find(info.group, info.version, info.resource)
    return Call(request, info, LOOPBACK, served or kind, kind.subresource(subresource), app.now())


def resume(app: App, endpoints: Endpoints) -> None:
    """The same for a server whose objects are known to be complete, since another one saw to it."""
    app.keeper.keep(_kept(endpoints), functools.partial(mend, app, endpoints))
    app.aggregator.resume()
    app.health.done(*START_STEPS)


def _kept(endpoints: Endpoints) -> list[tuple[Kind, Tree]]:
    """What must not stay away."""
    namespaces = [(NAMESPACE, _namespace(name)) for name in NAMESPACES]
    cidr = {"metadata": {"name": service_cidr.DEFAULT_NAME}}
    tracking = (CONFIGMAP, _token_tracking(0))
    return [*namespaces, *flow_control.objects(), (SERVICECIDR, cidr), *_services(endpoints), tracking]


async def mend(app: App, endpoints: Endpoints) -> None:
    """Puts back what somebody deleted or changed. Raises Unmended, StoreError."""
    endpoints = await endpoints.found()
    for name in NAMESPACES:
        await _ensure(app, NAMESPACE, _namespace(name))
    await _ensure_flow_control(app)
    await _ensure_network(app, endpoints)
    await _ensure_token_tracking(app)


def _services(endpoints: Endpoints) -> list[tuple[Kind, Tree]]:
    """The Services of the cluster itself, with what is behind them."""
    found = [
        (SERVICE, _api_service(endpoints)),
        (ENDPOINTS, _api_endpoints(endpoints)),
        *((ENDPOINTSLICE, found) for found in _api_slices(endpoints)),
    ]
    if endpoints.dns_addresses:
        found += [(SERVICE, _dns_service(endpoints)), (ENDPOINTSLICE, _dns_slice(endpoints))]
    return found


async def _ensure_network(app: App, endpoints: Endpoints) -> None:
    """A Service keeps its type and ports, endpoints and slices are as we write them; none comes before its range."""
    await _ensure_service_cidr(app, endpoints)
    for kind, ours in _services(endpoints):
        item, wanted = app.registry.get(kind, objects.namespace(ours), objects.name(ours)), ours
        if kind is SERVICE and item is not None:
            wanted = {**ours, "spec": _service_spec(item.tree["spec"], ours["spec"])}
        await _ensure(app, kind, wanted, autoupdate=True)
    await _drop_slices(app, {objects.name(found) for found in _api_slices(endpoints)})


async def _drop_slices(app: App, wanted: set[str]) -> None:
    """Of API servers' ports that are there no more."""
    for item in app.registry.all(ENDPOINTSLICE):
        name, labels = objects.name(item.tree), objects.labels(item.tree)
        is_ours = objects.namespace(item.tree) == "default" and labels.get(SERVICE_LABEL) == API_SERVICE
        if is_ours and name.startswith(f"{API_SERVICE}-") and name not in wanted:
            await _send(app, "DELETE", ENDPOINTSLICE.path("default", name), {})


def _service_spec(live: Tree, wanted: Tree) -> Tree:
    """The live spec when it says what is wanted of ports and type, otherwise with those put right."""
    if live.get("type") != wanted["type"]:
        return wanted
    ports = live.get("ports") or []
    pairs = zip(ports, wanted["ports"], strict=False)
    if len(ports) == len(wanted["ports"]) and all(have.items() >= port.items() for have, port in pairs):
        return live
    return live | {"ports": wanted["ports"]}


async def _ensure(app: App, kind: Kind, wanted: Tree, *, autoupdate: bool = False) -> None:
    namespace, name = objects.namespace(wanted), objects.name(wanted)
    item = app.registry.get(kind, namespace, name)
    if item is None:
        await _send(app, "POST", kind.path(namespace), wanted)
    elif autoupdate and not _holds(item.tree, wanted):
        merged = {**item.copy(), **{k: v for k, v in wanted.items() if k != "metadata"}}
        await _send(app, "PUT", kind.path(namespace, name), merged)


async def _ensure_rbac(app: App, kind: Kind, wanted: Tree) -> None:
    """Creates a default role or binding, or adds what it lacks; what somebody else added stays."""
    namespace, name = objects.namespace(wanted), objects.name(wanted)
    item = app.registry.get(kind, namespace, name)
    if item is None:
        await _send(app, "POST", kind.path(namespace), wanted)
    elif reconcile.is_protected(item.tree):
        return
    elif reconcile.names_another_role(item.tree, wanted):
        await _send(app, "DELETE", kind.path(namespace, name), {})
        await _send(app, "POST", kind.path(namespace), wanted)
    else:
        change = reconcile.binding if "roleRef" in wanted else reconcile.role
        if (changed := change(item.tree, wanted)) is not None:
            await _send(app, "PUT", kind.path(namespace, name), changed)


async def _ensure_flow_control(app: App) -> None:
    """Creates the default levels and schemas, and brings up to date those that are still ours."""
    await asyncio.gather(*(_ensure_flow(app, kind, wanted) for kind, wanted in flow_control.objects()))


async def _ensure_flow(app: App, kind: Kind, wanted: Tree) -> None:
    item = app.registry.get(kind, "", objects.name(wanted))
    if item is None:
        await _send(app, "POST", kind.path(), wanted)
        made = app.registry.get(kind, "", objects.name(wanted))
        if kind is FLOWSCHEMA and made is not None:
            state = {**made.copy(), "status": _flow_state(wanted, app.now())}
            await _send(app, "PUT", kind.path("", objects.name(wanted), "status"), state)
    elif flow_control.follows(item.tree) and not _holds(item.tree, wanted):
        await _send(app, "PUT", kind.path("", objects.name(wanted)), {**item.copy(), "spec": wanted["spec"]})


def _flow_state(schema: Tree, now: float) -> Tree:
    """The status of one of ours, whose level is ours too."""
    return {"conditions": [flow_schema.dangling(schema, now, is_there=True)]}


async def _ensure_service_cidr(app: App, endpoints: Endpoints) -> None:
    """The range that the cluster was made with, ready from the start."""
    name = service_cidr.DEFAULT_NAME
    wanted = {"kind": SERVICECIDR.name, "apiVersion": SERVICECIDR.api_version, "metadata": {"name": name}}
    ranges = endpoints.service_cidr.split(",")
    await _ensure(app, SERVICECIDR, {**wanted, "spec": {"cidrs": ranges}})
    item = app.registry.get(SERVICECIDR, "", name)
    if item is None or objects.is_deleting(item.tree) or conditions.get(item.tree, "Ready") is not None:
        return
    if service_cidr.cidrs(item.tree) == ranges:
        created = timestamps.parse(item.tree["metadata"]["creationTimestamp"])
        ready = conditions.make("Ready", "True", "", "Kubernetes default Service CIDR is ready", created)
        state = {"conditions": [{**ready, "reason": ""}]}
        await _send(app, "PUT", SERVICECIDR.path("", name, "status"), {**item.copy(), "status": state})


async def _ensure_token_tracking(app: App) -> None:
    """Tells since when the uses of legacy tokens are written down; a date that is none begins anew."""
    ours = _token_tracking(app.now())
    namespace, name = objects.namespace(ours), objects.name(ours)
    item = app.registry.get(CONFIGMAP, namespace, name)
    if item is None:
        await _send(app, "POST", CONFIGMAP.path(namespace), ours)
        return
    data = item.tree.get("data") or {}
    if not legacy_tokens.is_day(data.get("since") or ""):
        await _send(app, "PUT", CONFIGMAP.path(namespace, name), {**item.copy(), "data": {**data, **ours["data"]}})


def _token_tracking(now: float) -> Tree:
    metadata = {"namespace": "kube-system", "name": "kube-apiserver-legacy-service-account-token-tracking"}
    data = {"since": legacy_tokens.day(now)}
    return {"kind": CONFIGMAP.name, "apiVersion": CONFIGMAP.api_version, "metadata": metadata, "data": data}


def _holds(live: Tree, wanted: Tree) -> bool:
    return all(live.get(key) == value for key, value in wanted.items() if key != "metadata")


async def _send(app: App, method: str, path: str, body: Tree) -> None:
    request = Request(method, path, (), HEADERS, body, PEER)
    response = await app.handle(request)
    if response.status in (200, 201, 409) or (method, response.status) == ("DELETE", 404):
        return
    if method == "POST" and await _is_there(app, f"{path}/{objects.name(body)}"):
        return
    raise keeper.Unmended(f"{method} {path}: {response.body!r}")


async def _is_there(app: App, path: str) -> bool:
    """Whether another server was first: then a Service's address is refused, which it has now, and not its name."""
    return (await app.handle(Request("GET", path, (), HEADERS, b"", PEER))).status == 200


def _namespace(name: str) -> Tree:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}


def _api_service(endpoints: Endpoints) -> Tree:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": endpoints.api_port}
    return _service("default", "kubernetes", labels, (endpoints.api_service_ip, [port]))


def _api_slices(endpoints: Endpoints) -> list[Tree]:
    """One for each port on which there are servers; upstream's, which have all the same, need only the first."""
    found = []
    for number, (port, addresses) in enumerate(endpoints.by_port.items()):
        name = f"{API_SERVICE}-{port}" if number else API_SERVICE
        ports = [{"name": "https", "port": port, "protocol": "TCP"}]
        made = _slice("default", API_SERVICE, tuple(addresses), ports)
        found.append({**made, "metadata": {**made["metadata"], "name": name}})
    return found


def _api_endpoints(endpoints: Endpoints) -> Tree:
    """The older form of the slices. Nobody is to mirror it, since the slices are ours as well."""
    metadata = {"name": API_SERVICE, "namespace": "default", "labels": {SKIP_MIRROR_LABEL: "true"}}
    subsets = [
        {
            "addresses": [{"ip": address} for address in addresses],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        for port, addresses in endpoints.by_port.items()
    ]
    return {"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata, "subsets": subsets}


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
    metadata = {"name": service, "namespace": namespace, "labels": {SERVICE_LABEL: service}}
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": ports,
    }
