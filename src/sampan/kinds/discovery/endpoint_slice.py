"""EndpointSlice: some of the addresses behind a Service.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import cells, ip_rules
from sampan.meta import names, objects, validation
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required, too_many


def ports_text(obj: Object, now: float) -> str:
    """Port numbers: 80,443; a name, or *, where there is no number."""
    ports = obj.get("ports") or ()
    shown = [p["port"] if p.get("port") is not None else p["name"] if p.get("name") is not None else "*" for p in ports]
    return cells.with_more(shown)


def addresses_text(obj: Object, now: float) -> str:
    """Addresses of all endpoints, three at most."""
    return cells.with_more([a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()])


ENDPOINTSLICE = Kind(
    group="discovery.k8s.io",
    versions=("v1",),
    name="EndpointSlice",
    plural="endpointslices",
    schema="io.k8s.api.discovery.v1.EndpointSlice",
    columns=(
        Column("AddressType", "addressType"),
        Column("Ports", ports_text),
        Column("Endpoints", addresses_text),
        cells.AGE,
    ),
    has_generation=True,
    immutable=("addressType",),
)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100
_MAX_PORTS = 20000
_MAX_TOPOLOGY = 16
_MAX_HINTS = 8


def default(obj: Object) -> None:
    """Ports have a name (maybe empty) and a protocol, endpoints have conditions (maybe none)."""
    if obj.get("endpoints") is None:
        obj["endpoints"] = None
    if obj.get("ports") is None:
        obj["ports"] = None
    for endpoint in obj["endpoints"] or ():
        endpoint.setdefault("conditions", {})
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        if not port.get("protocol"):
            port["protocol"] = "TCP"


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Topology labels of old days are dropped when given anew; changed labels count as a new generation."""
    if old is None or _topologies(new) != _topologies(old):
        for endpoint in new.get("endpoints") or ():
            endpoint.pop("deprecatedTopology", None)
    if old is not None and objects.labels(new) != objects.labels(old):
        new["metadata"]["generation"] = objects.generation(old) + 1


def _topologies(obj: Object) -> list[Any]:
    return [endpoint.get("deprecatedTopology") for endpoint in obj.get("endpoints") or ()]


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """One address family, unique port names, addresses that can be reached."""
    causes: list[Cause] = []
    family = new.get("addressType") or ""
    if not family:
        causes.append(required("addressType"))
    elif family not in _TYPES:
        causes.append(not_supported("addressType", family, _TYPES))
    endpoints = new.get("endpoints") or ()
    if len(endpoints) > _MAX_ENDPOINTS:
        causes.append(too_many("endpoints", len(endpoints), _MAX_ENDPOINTS))
        endpoints = ()
    for index, endpoint in enumerate(endpoints):
        causes += _endpoint_causes(endpoint, f"endpoints[{index}]", family)
    ports = new.get("ports") or ()
    if len(ports) > _MAX_PORTS:
        return [*causes, too_many("ports", len(ports), _MAX_PORTS)]
    seen: set[str] = set()
    for index, port in enumerate(ports):
        causes += _port_causes(port, f"ports[{index}]", seen)
    return causes


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """Domain names as endpoints are on their way out; addresses are written in one way."""
    if new.get("addressType") == "FQDN":
        return ["addressType: FQDN endpoints are deprecated"] if old is None else ()
    if objects.labels(new).get(MANAGED_BY_LABEL) in _CONTROLLERS:
        return ()
    if old is not None and old.get("endpoints") == new.get("endpoints"):
        return ()
    return [
        text
        for e, endpoint in enumerate(new.get("endpoints") or ())
        for a, address in enumerate(endpoint.get("addresses") or ())
        for text in ip_rules.address_warnings(f"endpoints[{e}].addresses[{a}]", address)
    ]


def _endpoint_causes(endpoint: Mapping[str, Any], path: str, family: str) -> list[Cause]:
    found: list[Cause] = []
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        found.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        found.append(too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES))
    for index, address in enumerate(addresses):
        found += _address_causes(address, f"{path}.addresses[{index}]", family)
    if endpoint.get("nodeName") is not None:
        name = endpoint["nodeName"]
        found += [invalid_value(f"{path}.nodeName", name, error) for error in names.dns1123_subdomain(name)]
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MAX_TOPOLOGY:
        found.append(too_many(f"{path}.deprecatedTopology", len(topology), _MAX_TOPOLOGY))
    found += validation.labels(topology, f"{path}.deprecatedTopology")
    if endpoint.get("hostname") is not None:
        name = endpoint["hostname"]
        found += [invalid_value(f"{path}.hostname", name, error) for error in names.dns1123_label(name)]
    return found + _hint_causes(endpoint.get("hints") or {}, f"{path}.hints")


def _address_causes(address: str, where: str, family: str) -> list[Cause]:
    if family == "FQDN":
        return ip_rules.fully_qualified(where, address)
    if family not in _TYPES:
        return []
    return ip_rules.address(where, address, family) or ip_rules.not_special(where, address)


def _hint_causes(hints: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    for field, check in (("forZones", names.label_value), ("forNodes", names.dns1123_subdomain)):
        entries = hints.get(field) or ()
        if len(entries) > _MAX_HINTS:
            found.append(too_many(f"{path}.{field}", len(entries), _MAX_HINTS))
            continue
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            name, where = entry.get("name") or "", f"{path}.{field}[{index}].name"
            if name in seen:
                found.append(duplicate(where, name))
            seen.add(name)
            found += [invalid_value(where, name, error) for error in check(name)]
    return found


def _port_causes(port: Mapping[str, Any], path: str, seen: set[str]) -> list[Cause]:
    found: list[Cause] = []
    name = port.get("name") or ""
    if name:
        found += [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]
    if name in seen:
        found.append(duplicate(f"{path}.name", name))
    seen.add(name)
    if port.get("protocol") not in _PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", port.get("protocol") or "", _PROTOCOLS))
    protocol = port.get("appProtocol")
    if protocol is not None:
        found += [invalid_value(f"{path}.appProtocol", protocol, text) for text in names.qualified_name(protocol)]
    return found
