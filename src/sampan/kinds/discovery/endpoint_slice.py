"""EndpointSlice: some of the addresses behind a Service.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

import ipaddress
from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import cells
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required, too_many


def ports_text(obj: Object, now: float) -> str:
    """Port numbers: 80,443."""
    ports = obj.get("ports") or ()
    return cells.with_more([p["port"] if p.get("port") is not None else "*" for p in ports])


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
_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100


def default(obj: Object) -> None:
    """Ports have a name (maybe empty) and a protocol."""
    if obj.get("endpoints") is None:
        obj["endpoints"] = None
    if obj.get("ports") is None:
        obj["ports"] = None
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        if not port.get("protocol"):
            port["protocol"] = "TCP"


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
    for index, endpoint in enumerate(endpoints):
        causes += _endpoint_causes(endpoint, f"endpoints[{index}]", family)
    seen: set[str] = set()
    for index, port in enumerate(new.get("ports") or ()):
        causes += _port_causes(port, f"ports[{index}]", seen)
    return causes


def _endpoint_causes(endpoint: dict[str, Any], path: str, family: str) -> list[Cause]:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        return [required(f"{path}.addresses", "must contain at least 1 address")]
    if len(addresses) > _MAX_ADDRESSES:
        return [too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES)]
    found = []
    for index, address in enumerate(addresses):
        where = f"{path}.addresses[{index}]"
        if family == "FQDN":
            found += [invalid_value(where, address, text) for text in names.dns1123_subdomain(address)]
        elif family in {"IPv4", "IPv6"}:
            found += _address_causes(address, where, family)
    return found


def _address_causes(address: str, where: str, family: str) -> list[Cause]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return [invalid_value(where, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    if (parsed.version == 4) != (family == "IPv4"):
        return [invalid_value(where, address, f"must be an {family} address")]
    for bad, text in (
        (parsed.is_unspecified, f"may not be unspecified ({address})"),
        (parsed.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (parsed.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (parsed.is_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ):
        if bad:
            return [invalid_value(where, address, text)]
    return []


def _port_causes(port: dict[str, Any], path: str, seen: set[str]) -> list[Cause]:
    found = []
    name = port.get("name") or ""
    if name:
        found += [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]
    if name in seen:
        found.append(duplicate(f"{path}.name", name))
    seen.add(name)
    if port.get("protocol") not in _PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", port.get("protocol") or "", _PROTOCOLS))
    return found
