"""Build: from the objects of a cluster to the plan of all traffic."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sampan.control.view import View
from sampan.gateway import (
    attachment,
    backends,
    certificates,
    gateway_rules,
    grpc_rules,
    hostnames,
    http_rules,
    ingress_rules,
    kinds,
    listeners,
    proxy,
    sleeping,
)
from sampan.gateway.listeners import Listener
from sampan.gateway.sleeping import Sleeper
from sampan.gateway.traffic import Cluster, Door, Entrance, Host, Plan, Route
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind, Object
from sampan.kinds.networking.ingress import INGRESS
from sampan.kinds.networking.ingress_class import INGRESSCLASS
from sampan.meta import objects

log = logging.getLogger(__name__)

READS: tuple[Kind, ...] = (
    kinds.GATEWAYCLASS,
    kinds.GATEWAY,
    kinds.HTTPROUTE,
    kinds.GRPCROUTE,
    kinds.REFERENCEGRANT,
    INGRESS,
    INGRESSCLASS,
    SERVICE,
    ENDPOINTSLICE,
    SECRET,
    NAMESPACE,
)

_INGRESSES = ("ingress/80", "ingress/443")
TRANSLATORS = ((kinds.HTTPROUTE, http_rules.translate), (kinds.GRPCROUTE, grpc_rules.translate))

Key = tuple[str, str]
Attached = dict[tuple[Key, str], dict[Route, tuple[str, ...]]]
"""By Gateway and listener: routes with the names under which they are served."""


def plan(view: View, before: Plan | None = None, sleepers: Sequence[Sleeper] = ()) -> Plan:
    """All that Envoy is to do. Of two that claim the same port of Envoy, the one that has it `before` keeps it."""
    address = proxy.address(view)
    if not address:
        return Plan()
    entrances = (
        *_undisputed(list(_gateways(view, address)), before or Plan()),
        *_ingress_entrances(view, address, before or Plan()),
    )
    served = sorted({door_secret for e in entrances for door in e.doors for door_secret in door.secrets})
    found = ((key, view.get(SECRET, key)) for key in served)
    shown = {key: certificates.of_secret(secret) for key, secret in found if secret is not None}
    return with_endpoints(view, Plan(entrances, shown, dict.fromkeys(_clusters(entrances), ())), sleepers)


def with_endpoints(view: View, before: Plan, sleepers: Sequence[Sleeper] = ()) -> Plan:
    """The same plan with the endpoints as they are now: all that is new where nothing but EndpointSlices has changed."""
    clusters = before.endpoints
    asleep = {cluster for cluster in clusters if sleeping.of(view, cluster, sleepers) is not None}
    found = {cluster: backends.endpoints(view, cluster, may_end=cluster not in asleep) for cluster in clusters}
    return replace(before, endpoints=found, sleepers=frozenset(asleep))


def _undisputed(entrances: Sequence[Entrance], before: Plan) -> list[Entrance]:
    """One for each port: that which has it, else that of the oldest Gateway. Users may write what the claims stand in."""
    holders = {entrance.port: entrance.name for entrance in before.entrances}
    kept: dict[int, Entrance] = {}
    for entrance in sorted(entrances, key=lambda entrance: holders.get(entrance.port) != entrance.name):
        if kept.setdefault(entrance.port, entrance) is not entrance:
            log.warning("%s is not served: %s has port %d", entrance.name, kept[entrance.port].name, entrance.port)
    return [entrance for entrance in entrances if kept[entrance.port] is entrance]


def _clusters(entrances: Iterable[Entrance]) -> list[Cluster]:
    hosts = (host for entrance in entrances for door in entrance.doors for host in door.hosts)
    found = {cluster for host in hosts for route in host.routes for rule in route.rules for cluster in rule.clusters}
    return sorted(found, key=lambda cluster: cluster.name)


def _attached(view: View) -> Attached:
    found: Attached = defaultdict(dict)
    for kind, translate in TRANSLATORS:
        for obj in view.list(kind):
            if objects.is_deleting(obj):
                continue
            try:
                parents = [parent for parent in attachment.parents(view, kind, obj) if parent.places]
                route = translate(view, obj).route if parents else None
            except Exception:  # it keeps no other from being served
                log.exception("%s %s is left out", kind.name, "/".join(objects.key(obj)))
                continue
            if route is None or not route.rules:
                continue
            for parent in parents:
                for place in parent.places:
                    found[objects.key(parent.gateway), place.listener.name][route] = place.hostnames
    return found


def _gateways(view: View, address: str) -> Iterator[Entrance]:
    attached = _attached(view)
    for gateway in sorted(view.list(kinds.GATEWAY), key=_age):
        if not attachment.is_ours(view, gateway) or objects.is_deleting(gateway):
            continue
        try:
            entrances = list(_of_gateway(view, gateway, address, attached))
        except Exception:  # it keeps no other from being served
            log.exception("Gateway %s is left out", "/".join(objects.key(gateway)))
        else:
            yield from entrances


def _age(obj: Object) -> tuple[str, Key]:
    return str(obj["metadata"].get("creationTimestamp", "")), objects.key(obj)


def _of_gateway(view: View, gateway: Object, address: str, attached: Attached) -> Iterator[Entrance]:
    if gateway_rules.fault(gateway):
        return
    ports = proxy.claims(view, gateway)
    by_port: dict[int, list[Listener]] = defaultdict(list)
    for listener in listeners.of_gateway(view, gateway):
        if listener.is_served and listener.port in ports:
            by_port[listener.port].append(listener)
    for port, group in sorted(by_port.items()):
        name = f"{'/'.join(objects.key(gateway))}/{port}"
        doors = tuple(_doors(name, group, _hosts(group, objects.key(gateway), attached)))
        yield Entrance(name, address, ports[port], port, doors, is_tls=group[0].is_tls)


def _hosts(group: list[Listener], gateway: Key, attached: Attached) -> dict[str, tuple[Host, ...]]:
    """By listener. A host belongs to the listener with the closest hostname; what that one has no route for is not found."""
    found = {}
    for listener in group:
        routes: dict[str, list[Route]] = {listener.hostname or "*": []}
        for route, names in attached.get((gateway, listener.name), {}).items():
            for name in names:
                if hostnames.most_specific(name, [other.hostname for other in group]) == listener.hostname:
                    routes.setdefault(name, []).append(route)
        found[listener.name] = tuple(Host(name, tuple(listed)) for name, listed in sorted(routes.items()))
    return found


def _doors(name: str, group: list[Listener], hosts: dict[str, tuple[Host, ...]]) -> Iterator[Door]:
    """With TLS a door for each listener, since the client's name in TLS decides; else one for all."""
    if not group[0].is_tls:
        yield Door(name, tuple(host for listener in group for host in hosts[listener.name]))
        return
    for listener in group:
        yield Door(f"{name}/{listener.name}", hosts[listener.name], listener.hostname, listener.secrets)


def _ingress_entrances(view: View, address: str, before: Plan) -> list[Entrance]:
    try:
        return list(_ingresses(view, address))
    except Exception:  # they keep no Gateway from being served
        log.exception("the Ingresses can't be planned; what was planned of them last stays")
        return [entrance for entrance in before.entrances if entrance.name in _INGRESSES]


def _ingresses(view: View, address: str) -> Iterator[Entrance]:
    ours = [ingress for ingress in ingress_rules.ours(view) if not objects.is_deleting(ingress)]
    if not ours:
        return
    hosts = ingress_rules.hosts(view, ours)
    yield Entrance("ingress/80", address, proxy.INGRESS_PORTS[80], 80, (Door("ingress/80", hosts),))
    named = ingress_rules.doors(view, ours)
    if named:
        doors = tuple(
            Door(f"ingress/443/{server or 'any'}", _behind(server, hosts), server, (key,))
            for server, key in sorted(named.items())
        )
        yield Entrance("ingress/443", address, proxy.INGRESS_PORTS[443], 443, doors, is_tls=True)


def _behind(server: str, hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Those that a client may mean who asked for this name in TLS."""
    return tuple(h for h in hosts if hostnames.is_covered(h.name, server) or hostnames.is_covered(server, h.name))


def gateway_keys(route: Object) -> Iterator[Key]:
    """Which Gateways a route names."""
    for reference in route["spec"].get("parentRefs") or ():
        key = attachment.gateway_key(route, reference)
        if key is not None:
            yield key
