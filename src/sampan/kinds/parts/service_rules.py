"""Which services are refused: ports, types, selectors, addresses that change."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import names, validation
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_POLICIES = ("Cluster", "Local")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_MAX_AFFINITY_SECONDS = 86400


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All that is wrong with a service, new or an update of `old`."""
    spec = new.get("spec") or {}
    kind = spec.get("type")
    headless = spec.get("clusterIP") == "None"
    found: list[Cause] = []
    if kind not in _TYPES:
        found.append(not_supported("spec.type", kind, _TYPES))
    if not spec.get("ports") and kind != "ExternalName" and not headless:
        found.append(required("spec.ports"))
    found += _ports_causes(spec.get("ports") or (), headless=headless)
    if spec.get("selector"):
        found += validation.labels(spec["selector"], "spec.selector")
    found += _type_causes(spec, kind or "")
    found += _policy_causes(spec)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        found += _address_causes(address, f"spec.externalIPs[{index}]")
    if old is not None:
        found += _update_causes(spec, old.get("spec") or {})
    return found


def _ports_causes(ports: Sequence[Mapping[str, Any]], *, headless: bool) -> list[Cause]:
    found: list[Cause] = []
    seen_names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            found.append(required(f"{path}.name"))
        elif name:
            found += [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]
            if name in seen_names:
                found.append(duplicate(f"{path}.name", name))
            seen_names.add(name)
        number = port.get("port") or 0
        found += [invalid_value(f"{path}.port", number, text) for text in names.port_number(number)]
        if port.get("protocol") not in _PROTOCOLS:
            found.append(not_supported(f"{path}.protocol", port.get("protocol") or "", _PROTOCOLS))
        found += _target_causes(port.get("targetPort"), f"{path}.targetPort")
        key = (number, port.get("protocol"))
        if key in seen:
            found.append(duplicate(path, {"port": number, "protocol": port.get("protocol")}))
        seen.add(key)
    return found


def _target_causes(target: Any, path: str) -> list[Cause]:
    check = names.port_name(target) if isinstance(target, str) else names.port_number(target or 0)
    return [invalid_value(path, target, text) for text in check]


def _type_causes(spec: Mapping[str, Any], kind: str) -> list[Cause]:
    found: list[Cause] = []
    address = spec.get("clusterIP") or ""
    if kind == "ExternalName":
        if address:
            found.append(forbidden_field("spec.clusterIPs[0]", "may not be set when `type` is 'ExternalName'"))
        name = (spec.get("externalName") or "").rstrip(".")
        if not name:
            found.append(required("spec.externalName"))
        else:
            found += [invalid_value("spec.externalName", name, text) for text in names.dns1123_subdomain(name)]
    elif address == "None" and kind in {"NodePort", "LoadBalancer"}:
        text = f"may not be set to 'None' for {kind} services"
        found.append(invalid_value("spec.clusterIPs[0]", address, text))
    elif address and address != "None":
        found += _address_causes(address, "spec.clusterIPs[0]")
    if kind == "ClusterIP":
        for index, port in enumerate(spec.get("ports") or ()):
            if port.get("nodePort"):
                text = "may not be used when `type` is 'ClusterIP'"
                found.append(forbidden_field(f"spec.ports[{index}].nodePort", text))
    return found


def _policy_causes(spec: Mapping[str, Any]) -> list[Cause]:
    found = []
    affinity = spec.get("sessionAffinity")
    if affinity not in _AFFINITIES:
        found.append(not_supported("spec.sessionAffinity", affinity or "", _AFFINITIES))
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is not None and not 0 < seconds <= _MAX_AFFINITY_SECONDS:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        found.append(invalid_value(path, seconds, f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"))
    found += [
        not_supported(f"spec.{field}", spec[field], _POLICIES)
        for field in ("internalTrafficPolicy", "externalTrafficPolicy")
        if spec.get(field) and spec[field] not in _POLICIES
    ]
    return found


def _address_causes(address: str, path: str) -> list[Cause]:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return [invalid_value(path, address, _ADDRESS)]
    return []


def _update_causes(spec: Mapping[str, Any], before: Mapping[str, Any]) -> list[Cause]:
    if "ExternalName" in (spec.get("type"), before.get("type")) or not before.get("clusterIP"):
        return []
    if spec.get("clusterIP") != before["clusterIP"]:
        addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
        text = "may not change once set"
        return [invalid_value("spec.clusterIPs[0]", addresses, text)]
    return []
