"""A Gateway's status and the Service before it: what its listeners are good for, and at which address it is reached.

https://gateway-api.sigs.k8s.io/api-types/gateway/#gateway-status
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sampan.control import decorate
from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Key, Plan, Write, plan
from sampan.control.view import View
from sampan.gateway import attachment, build, gateway_rules, kinds, listeners, proxy, refusals, route_status, status
from sampan.gateway.listeners import Fault, Listener
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects

PARENT_NAMES = "spec.parentRefs.name"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """First where it is reached, then what is said of it."""
    gateway = view.get(kinds.GATEWAY, key)
    if gateway is None or objects.is_deleting(gateway) or not attachment.is_ours(view, gateway):
        return Plan()
    found = listeners.of_gateway(view, gateway)
    fault = gateway_rules.fault(gateway)
    ports = {listener.port for listener in found if listener.is_served} if fault is None else set()
    service = view.get(SERVICE, proxy.service_key(gateway))
    is_foreign = service is not None and not proxy.is_ours(service, gateway)
    mapped = proxy.assigned(view, gateway, ports)
    writes = [] if is_foreign else _service_writes(view, gateway, mapped)
    without = Fault("PortUnavailable", "all ports of the proxy are taken")
    found = [replace(e, unacceptable=without) if e.port in ports - mapped.keys() else e for e in found]
    wanted = _status(view, gateway, found, now)
    return plan(writes, decorate.status(kinds.GATEWAY, gateway, wanted))


def _service_writes(view: View, gateway: Object, ports: dict[int, int]) -> list[Write]:
    key = proxy.service_key(gateway)
    if not ports:
        return proxy.removal(view, key)
    extra = gateway["spec"].get("infrastructure") or {}
    labels = {
        f"{kinds.GROUP}/gateway-name": objects.name(gateway)[:63].rstrip("-."),
        f"{kinds.GROUP}/gateway-class-name": gateway["spec"]["gatewayClassName"][:63].rstrip("-."),
    }
    owner = objects.owner_reference({**gateway, "apiVersion": kinds.GATEWAY.api_version, "kind": "Gateway"})
    metadata = {
        "labels": {**(extra.get("labels") or {}), **labels},
        "annotations": extra.get("annotations") or {},
        "ownerReferences": [owner],
    }
    wishes = gateway_rules.wishes(gateway)
    spec = {"type": "LoadBalancer", "loadBalancerIP": wishes[0] if wishes else ""}
    wanted = proxy.service(key, ports, metadata, **spec)
    return proxy.writes(view, wanted, proxy.address(view))


def _status(view: View, gateway: Object, found: list[Listener], now: float) -> Object:
    old = gateway.get("status") or {}
    addresses = _addresses(view, gateway)
    accepted = _accepted(gateway, found)
    refused = refusals.of(gateway)
    unprogrammed = _unprogrammed(view, gateway, found, addresses)
    programmed = unprogrammed or _refused(found, refused)
    before = {entry["name"]: entry.get("conditions") for entry in old.get("listeners") or ()}
    counts = _counts(view, gateway)
    return {
        "addresses": addresses,
        "conditions": status.listed(
            gateway,
            old.get("conditions"),
            (
                ("Accepted", accepted),
                ("Programmed", status.verdict(programmed, "Programmed", "the proxy serves the gateway")),
            ),
            now,
        ),
        "listeners": [
            {
                "name": listener.name,
                "supportedKinds": [{"group": kinds.GROUP, "kind": kind} for kind in listener.kinds],
                "attachedRoutes": counts.get(listener.name, 0),
                "conditions": status.listed(
                    gateway, before.get(listener.name), _listener_verdicts(listener, refused, unprogrammed), now
                ),
            }
            for listener in found
        ],
    }


def _accepted(gateway: Object, found: list[Listener]) -> tuple[bool, str, str]:
    fault = gateway_rules.fault(gateway)
    if fault is not None:
        return False, fault.reason, fault.message
    bad = [listener.name for listener in found if not listener.is_served]
    if bad:
        return len(bad) < len(found), "ListenersNotValid", f"listeners {', '.join(bad)} are not valid"
    return True, "Accepted", "the gateway is accepted"


def _unprogrammed(view: View, gateway: Object, found: list[Listener], addresses: list[Object]) -> Fault | None:
    service = view.get(SERVICE, proxy.service_key(gateway))
    if gateway_rules.fault(gateway) is not None or not any(listener.is_served for listener in found):
        return Fault("Invalid", "there is no listener that can be served")
    if service is not None and not proxy.is_ours(service, gateway):
        return Fault("Invalid", f"a Service {objects.name(service)} that is not the gateway's is there")
    if not proxy.is_serving(view):
        return Fault("Pending", "the proxy has not started yet")
    if not addresses:
        return Fault("AddressNotAssigned", "no address has been assigned to the gateway yet")
    missing = set(gateway_rules.wishes(gateway)) - {entry["value"] for entry in addresses}
    return Fault("AddressNotUsable", f"address {min(missing)} can't be used") if missing else None


def _addresses(view: View, gateway: Object) -> list[Object]:
    service = view.get(SERVICE, proxy.service_key(gateway))
    found = []
    for entry in proxy.reached(service) if service is not None and proxy.is_ours(service, gateway) else ():
        if entry.get("ip"):
            found.append({"type": "IPAddress", "value": entry["ip"]})
        elif entry.get("hostname"):
            found.append({"type": "Hostname", "value": entry["hostname"]})
    return found


def _refused(found: list[Listener], refused: Mapping[int, str]) -> Fault | None:
    """What Envoy doesn't take of the Gateway."""
    said = [
        f"listener {e.name}: Envoy refuses it: {refused[e.port]}" for e in found if e.is_served and e.port in refused
    ]
    return Fault("Invalid", "; ".join(said)) if said else None


def _listener_verdicts(
    listener: Listener, refused: Mapping[int, str], gateway: Fault | None
) -> list[tuple[str, tuple[bool, str, str]]]:
    fault = listener.unacceptable or listener.conflict
    unserved = None if listener.is_served else fault or listener.unresolved
    if unserved is None and listener.port in refused:
        unserved = Fault("Invalid", f"Envoy refuses it: {refused[listener.port]}")
    programmed = (
        Fault("Invalid", unserved.message) if unserved else (Fault("Pending", gateway.message) if gateway else None)
    )
    conflicted = listener.conflict
    return [
        ("Accepted", status.verdict(fault, "Accepted", "the listener is accepted")),
        ("Programmed", status.verdict(programmed, "Programmed", "the proxy serves the listener")),
        ("ResolvedRefs", status.verdict(listener.unresolved, "ResolvedRefs", "all references are resolved")),
        (
            "Conflicted",
            (True, conflicted.reason, conflicted.message)
            if conflicted
            else (False, "NoConflicts", "there are no conflicts"),
        ),
    ]


def _counts(view: View, gateway: Object) -> dict[str, int]:
    """By listener, how many routes got behind it."""
    found: dict[str, int] = {}
    for kind, _ in build.TRANSLATORS:
        for route in view.indexed(kind, PARENT_NAMES, objects.name(gateway)):
            parents = [
                p for p in attachment.parents(view, kind, route) if objects.key(p.gateway) == objects.key(gateway)
            ]
            names = {place.listener.name for p in parents for place in p.places}
            if names and not objects.is_deleting(route) and route_status.unsupported(view, kind, route) is None:
                found |= {name: found.get(name, 0) + 1 for name in names}
    return found


def _every(view: View, changed: Object) -> Iterable[Key]:
    for gateway in view.list(kinds.GATEWAY):
        yield objects.key(gateway)


def _of_route(view: View, route: Object) -> Iterable[Key]:
    return build.gateway_keys(route)


def _of_secret(view: View, secret: Object) -> Iterable[Key]:
    for gateway in view.list(kinds.GATEWAY):
        for listener in gateway["spec"].get("listeners") or ():
            for reference in (listener.get("tls") or {}).get("certificateRefs") or ():
                if reference["name"] == objects.name(secret):
                    yield objects.key(gateway)


def _of_service(view: View, service: Object) -> Iterable[Key]:
    """Of a Service that somebody else made under the name of ours, too."""
    for gateway in view.list(kinds.GATEWAY, objects.namespace(service)):
        if proxy.service_key(gateway) == objects.key(service):
            yield objects.key(gateway)


def _labels_differ(old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or objects.labels(old) != objects.labels(new)


def _spec_differs(old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or old.get("spec") != new.get("spec")


def _watch(kind: Kind) -> Watch:
    return Watch(kind, _of_route, _spec_differs)


CONTROLLER = Controller(
    "gateway",
    kinds.GATEWAY,
    reconcile,
    watches=(
        Watch(kinds.GATEWAYCLASS, _every),
        *map(_watch, kinds.ROUTES),
        Watch(kinds.REFERENCEGRANT, _every),
        Watch(SECRET, _of_secret),
        Watch(NAMESPACE, _every, _labels_differ),
        Watch(SERVICE, _of_service),
        Watch(ENDPOINTSLICE, _of_service),
    ),
    indexes=tuple(Index(kind, PARENT_NAMES) for kind in kinds.ROUTES),
    workers=1,  # one after the other: two at once would take the same port of the proxy
)
