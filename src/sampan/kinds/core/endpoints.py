"""Endpoints: the addresses behind a Service in one object; the older form of EndpointSlice.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import endpoint_subsets, ip_rules
from sampan.kinds.parts.cells import AGE, NONE
from sampan.meta import names, objects
from sampan.meta.status import Cause, invalid_value, not_supported, required

_SHOWN = 3


def endpoints_text(obj: Object, now: float) -> str:
    """ "10.0.0.1:80,10.0.0.2:80 + 3 more..."; without ports, the addresses alone."""
    subsets = obj.get("subsets")
    if not subsets:
        return NONE
    found = []
    for subset in subsets:
        ports = [f":{port.get('port')}" for port in subset.get("ports") or ()] or [""]
        for port in ports:
            found += [f"[{ip}]{port}" if ":" in ip and port else f"{ip}{port}" for ip in _ips(subset)]
    text = ",".join(found[:_SHOWN])
    return f"{text} + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else text


def _ips(subset: Mapping[str, Any]) -> list[str]:
    return [address.get("ip") or "" for address in subset.get("addresses") or ()]


ENDPOINTS = Kind(
    group="",
    versions=("v1",),
    name="Endpoints",
    plural="endpoints",
    singular="endpoints",
    list_name="EndpointsList",
    schema="io.k8s.api.core.v1.Endpoints",
    short_names=("ep",),
    put_creates=True,
    columns=(Column("Endpoints", endpoints_text), AGE),
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)

MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
SKIP_MIRROR_LABEL = "endpointslice.kubernetes.io/skip-mirror"
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def default(obj: Object) -> None:
    """A port's protocol."""
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Each port stands once, with all its addresses; what is refused stays as it was written."""
    if new.get("subsets") and not validate(new, old, subresource):
        new["subsets"] = endpoint_subsets.repacked(new["subsets"])


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Subsets with addresses that can be reached, and named ports where there are several."""
    found: list[Cause] = []
    for index, subset in enumerate(new.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for name in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(name) or ()):
                found += _address_causes(address, f"{path}.{name}[{number}]")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            found += _port_causes(port, f"{path}.ports[{number}]", is_named=len(ports) > 1)
    return found


def _address_causes(address: Mapping[str, Any], path: str) -> list[Cause]:
    found = _ip_causes(address.get("ip") or "", f"{path}.ip")
    host, node = address.get("hostname") or "", address.get("nodeName")
    if host:
        found += [invalid_value(f"{path}.hostname", host, text) for text in names.dns1123_label(host)]
    if node is not None:
        found += [invalid_value(f"{path}.nodeName", node, text) for text in names.dns1123_subdomain(node)]
    return found


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """Addresses that are not written as others write them; whoever made them from a Service is not told."""
    if objects.labels(new).get(MANAGED_BY_LABEL) == "endpoint-controller":
        return ()
    return [
        text
        for s, subset in enumerate(new.get("subsets") or ())
        for name in ("addresses", "notReadyAddresses")
        for a, each in enumerate(subset.get(name) or ())
        for text in ip_rules.address_warnings(f"subsets[{s}].{name}[{a}].ip", each.get("ip") or "")
    ]


def _ip_causes(address: str, path: str) -> list[Cause]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return [invalid_value(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    for is_bad, text in (
        (parsed.is_unspecified, "may not be unspecified (0.0.0.0 or ::)"),
        (parsed.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (parsed.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (_is_local_multicast(parsed), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ):
        if is_bad:
            return [invalid_value(path, address, text)]
    return []


def _is_local_multicast(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    network = ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")
    return address in network


def _port_causes(port: Mapping[str, Any], path: str, *, is_named: bool) -> list[Cause]:
    name, protocol = port.get("name") or "", port.get("protocol") or ""
    found: list[Cause] = []
    if is_named and not name:
        found.append(required(f"{path}.name"))
    elif name:
        found += [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]
    number = port.get("port") or 0
    found += [invalid_value(f"{path}.port", number, text) for text in names.port_number(number)]
    if protocol not in _PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    if port.get("appProtocol") is not None:
        app = port["appProtocol"]
        found += [invalid_value(f"{path}.appProtocol", app, text) for text in names.qualified_name(app)]
    return found
