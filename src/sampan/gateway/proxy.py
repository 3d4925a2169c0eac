"""Proxy: where Envoy listens, and the Services through which a Gateway or the Ingresses are reached there.

A Service without selector, of type LoadBalancer, stands before each; its EndpointSlice has Envoy's own address. So a
Gateway gets its address as every other load balancer does, and two may both have port 80. Envoy's ports are the
Services' target ports: where they are written down, nothing is given twice.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping

from sampan.control.plan import Create, Delete, Update, Write
from sampan.control.view import View
from sampan.gateway import attachment, kinds
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.meta import objects

ADDRESS = "gateway.sampan.dev/proxy-address"
METRICS_PORT = "gateway.sampan.dev/metrics-port"
ASLEEP = "gateway.sampan.dev/proxy-asleep"
"""Said as long as Envoy was not started, since nothing was to be served yet."""
OURS = {"app.kubernetes.io/managed-by": "sampan-gateway"}
MANAGER = "gateway.sampan.dev"
NAMESPACE = "kube-system"
INGRESS_KEY = (NAMESPACE, "sampan-ingress")
METRICS_KEY = (NAMESPACE, "sampan-gateway")
INGRESS_PORTS = {80: 18080, 443: 18443}
FIRST_PORT = 18500
LAST_PORT = 20500


def address(view: View) -> str:
    """Where Envoy listens; "" as long as nobody has said so."""
    ours = view.get(kinds.GATEWAYCLASS, ("", kinds.CLASS))
    return objects.annotations(ours).get(ADDRESS, "") if ours is not None else ""


def is_serving(view: View) -> bool:
    """Whether Envoy runs, and has what it is to serve."""
    ours = view.get(kinds.GATEWAYCLASS, ("", kinds.CLASS))
    return bool(address(view)) and ours is not None and ASLEEP not in objects.annotations(ours)


def service_key(gateway: Object) -> tuple[str, str]:
    """Of the Service before a Gateway: its name and its class' name, as far as that is a name for a Service."""
    namespace, name = objects.key(gateway)
    plain = f"{name}-{kinds.CLASS}"
    if len(plain) <= 63 and re.fullmatch(r"[a-z][-a-z0-9]*", plain):
        return namespace, plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return namespace, f"gateway-{digest}-{kinds.CLASS}"


def is_ours(service: Object, owner: Object) -> bool:
    """Whether the Service was made for this owner."""
    return objects.is_controlled_by(service, owner)


def ports(service: Object | None) -> dict[int, int]:
    """By a Service's port, Envoy's."""
    listed = (service or {}).get("spec", {}).get("ports") or ()
    return {int(p["port"]): int(p["targetPort"]) for p in listed if isinstance(p.get("targetPort"), int)}


def claims(view: View, gateway: Object) -> dict[int, int]:
    """By a listener's port, Envoy's, as far as the Service is the Gateway's and the port is one for Gateways.

    Users may write Services: nothing else that one says counts.
    """
    service = view.get(SERVICE, service_key(gateway))
    if service is None or not is_ours(service, gateway):
        return {}
    listening = {listener["port"] for listener in gateway["spec"].get("listeners") or ()}
    found = ports(service).items()
    return {port: own for port, own in found if port in listening and FIRST_PORT <= own < LAST_PORT}


def assigned(view: View, gateway: Object, wanted: Iterable[int]) -> dict[int, int]:
    """Envoy's port for each that is wanted: the one that it has, or the lowest that no Gateway has, while there is one."""
    had = claims(view, gateway)
    taken: set[int] = set()
    for other in view.each(kinds.GATEWAY):
        if objects.key(other) != objects.key(gateway) and attachment.is_ours(view, other):
            taken |= set(claims(view, other).values())
    found: dict[int, int] = {}
    for port in sorted(wanted):
        free = (p for p in range(FIRST_PORT, LAST_PORT) if p not in taken)
        chosen = had[port] if port in had and had[port] not in taken else next(free, 0)
        if chosen:
            found[port] = chosen
            taken.add(chosen)
    return found


def reached(service: Object | None) -> list[Object]:
    """status.loadBalancer.ingress."""
    return list(((service or {}).get("status") or {}).get("loadBalancer", {}).get("ingress") or ())


def service(key: tuple[str, str], mapped: Mapping[int, int], metadata: Object, **spec: str) -> Object:
    """The Service: `mapped` has Envoy's port for each of its own, `metadata` labels, annotations and owners.

    What is "" in the spec is not to be there.
    """
    listed = [
        {"name": f"port-{port}", "port": port, "targetPort": target, "protocol": "TCP"}
        for port, target in sorted(mapped.items())
    ]
    labels = {**(metadata.get("labels") or {}), **OURS}
    named = {**metadata, "name": key[1], "namespace": key[0], "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {"ports": listed, **spec}}


def writes(view: View, wanted: Object, address: str) -> list[Write]:
    """What makes the Service and its EndpointSlice so."""
    found: list[Write] = []
    present = view.get(SERVICE, objects.key(wanted))
    if present is None:
        found.append(Create(SERVICE, {**wanted, "spec": _said(wanted["spec"])}, may_exist=True))
    elif (changed := _with_wishes(present, wanted)) is not None:
        found.append(Update(SERVICE, changed))
    if address:
        found += _slice_writes(view, _slice(wanted, address))
    return found


def removal(view: View, key: tuple[str, str]) -> list[Write]:
    """What takes the Service away, with all that hangs on it."""
    present = view.get(SERVICE, key)
    if present is None or objects.is_deleting(present) or not OURS.items() <= objects.labels(present).items():
        return []
    made = [Delete(SERVICE, key, objects.uid(present))]
    left = view.get(ENDPOINTSLICE, key)
    return [*made, Delete(ENDPOINTSLICE, key, objects.uid(left))] if left is not None else [*made]


def _with_wishes(present: Object, wanted: Object) -> Object | None:
    """The Service with what we want of it; None where it is so. Node ports and addresses stay what they are."""
    had = {port["name"]: port for port in present["spec"].get("ports") or () if port.get("name")}
    listed = [{**had.get(port["name"], {}), **port} for port in wanted["spec"]["ports"]]
    spec = _said({**present["spec"], **wanted["spec"], "ports": listed})
    metadata = dict(present["metadata"])
    for field in ("labels", "annotations"):
        merged = {**(metadata.get(field) or {}), **(wanted["metadata"].get(field) or {})}
        metadata |= {field: merged} if merged else {}
    changed = {**present, "metadata": metadata, "spec": spec}
    return None if changed == present else changed


def _said(spec: Object) -> Object:
    return {name: value for name, value in spec.items() if value != ""}


def _slice(service: Object, address: str) -> Object:
    listed = [{"name": p["name"], "port": p["targetPort"], "protocol": "TCP"} for p in service["spec"]["ports"]]
    metadata: Object = {
        "name": objects.name(service),
        "namespace": objects.namespace(service),
        "labels": {SERVICE_NAME_LABEL: objects.name(service), MANAGED_BY_LABEL: MANAGER},
    }
    if objects.owner_references(service):
        metadata["ownerReferences"] = objects.owner_references(service)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": f"IPv{ipaddress.ip_address(address).version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}],
        "ports": listed,
    }


def _slice_writes(view: View, wanted: Object) -> list[Write]:
    present = view.get(ENDPOINTSLICE, objects.key(wanted))
    if present is None:
        return [Create(ENDPOINTSLICE, wanted, may_exist=True)]
    if present.get("addressType") != wanted["addressType"]:
        return [
            Delete(ENDPOINTSLICE, objects.key(present), objects.uid(present))
        ]  # it can't be changed; made anew then
    changed = {**present, "endpoints": wanted["endpoints"], "ports": wanted["ports"]}
    return [] if changed == present else [Update(ENDPOINTSLICE, changed)]
