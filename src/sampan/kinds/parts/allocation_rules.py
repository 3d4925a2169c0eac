"""Which states of a ResourceClaim are refused: what was allocated stays, who reserved it is known.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/#ResourceClaimStatus
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import device_names, device_rules, node_selector_rules
from sampan.meta import objects
from sampan.meta.status import (
    Cause,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)

Tree = Mapping[str, Any]
Device = tuple[str, str, str, str]

_MAX_RESERVED = 256
_MAX_CONDITIONS = 8
_MAX_DATA = 10 * 1024
_MAX_ADDRESSES = 16
_MAX_INTERFACE = 256
_MAX_HARDWARE = 128
_SOURCES = ("FromClaim", "FromClass")
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RESERVED_TEXT = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"


def allocated(status: Tree) -> set[Device]:
    """The devices of an allocation: driver, pool, device, share."""
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    return {_device(result) for result in results}


def drop_released(status: dict[str, Any], before: Tree) -> None:
    """The state of a device that was allocated and is no longer goes, in place."""
    gone = allocated(before) - allocated(status)
    kept = [device for device in status.get("devices") or () if _device(device) not in gone]
    if kept:
        status["devices"] = kept
    else:
        status.pop("devices", None)


def causes(claim: Tree, before: Tree) -> list[Cause]:
    """All that is wrong with the status of the claim; `before` is the stored claim."""
    status, old = claim.get("status") or {}, before.get("status") or {}
    reserved, allocation, path = status.get("reservedFor") or [], status.get("allocation"), "status.reservedFor"
    found = device_names.list_causes(
        reserved, path, _MAX_RESERVED, _consumer_causes, lambda consumer: consumer.get("uid") or ""
    )
    known = allocated(status)
    found += device_names.list_causes(
        status.get("devices") or [], "status.devices", -1, lambda d, at: _state_causes(d, at, known), _device
    )
    if reserved and allocation is None:
        found.append(forbidden_field(path, "may not be specified when `allocated` is not set"))
    is_deleted = bool((claim.get("metadata") or {}).get("deletionTimestamp"))
    if is_deleted and allocation is not None and any(c not in (old.get("reservedFor") or ()) for c in reserved):
        found.append(forbidden_field(path, _RESERVED_TEXT))
    if allocation is not None and old.get("allocation") is not None:
        if not objects.same(allocation, old["allocation"]):
            found.append(invalid_value("status.allocation", allocation, "field is immutable"))
    elif allocation is not None:
        found += _allocation_causes(allocation, device_rules.request_names(claim.get("spec") or {}))
    return found


def _device(holder: Tree) -> Device:
    driver, pool, device, share = (str(holder.get(name) or "") for name in ("driver", "pool", "device", "shareID"))
    return driver, pool, device, share


def _consumer_causes(consumer: Tree, path: str) -> list[Cause]:
    return [required(f"{path}.{field}") for field in ("resource", "name", "uid") if not consumer.get(field)]


def _allocation_causes(allocation: Tree, known: device_rules.Requests) -> list[Cause]:
    devices, path = allocation.get("devices") or {}, "status.allocation.devices"
    found = device_names.list_causes(
        devices.get("results") or [],
        f"{path}.results",
        device_rules.MAX_LIST,
        lambda result, at: _result_causes(result, at, known),
    )
    found += device_names.list_causes(
        devices.get("config") or [],
        f"{path}.config",
        2 * device_rules.MAX_LIST,
        lambda config, at: _config_causes(config, at, known),
    )
    if allocation.get("nodeSelector") is not None:
        found += node_selector_rules.causes(allocation["nodeSelector"], "status.allocation.nodeSelector")
    return found


def _result_causes(result: Tree, path: str, known: device_rules.Requests) -> list[Cause]:
    found = device_rules.reference_causes(result.get("request") or "", f"{path}.request", known)
    found += _place_causes(result, path)
    found += device_names.binding_causes(result, path)
    for index, toleration in enumerate(result.get("tolerations") or ()):
        found += device_names.toleration_causes(toleration, f"{path}.tolerations[{index}]")
    return found


def _place_causes(holder: Tree, path: str) -> list[Cause]:
    found = device_names.driver_causes(holder.get("driver") or "", f"{path}.driver")
    found += device_names.pool_causes(holder.get("pool") or "", f"{path}.pool")
    found += device_names.label_causes(holder.get("device") or "", f"{path}.device")
    share = holder.get("shareID")
    if share is not None and _UUID.fullmatch(share) is None:
        text = (
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
            "hexadecimal characters"
        )
        found.append(invalid_value(f"{path}.shareID", share, text))
    return found


def _config_causes(config: Tree, path: str, known: device_rules.Requests) -> list[Cause]:
    source = config.get("source")
    found: list[Cause] = []
    if not source:
        found.append(required(f"{path}.source"))
    elif source not in _SOURCES:
        found.append(not_supported(f"{path}.source", source, _SOURCES))
    return found + device_rules.references_causes(config, path, known) + device_rules.config_causes(config, path)


def _state_causes(device: Tree, path: str, known: set[Device]) -> list[Cause]:
    found = _place_causes(device, path)
    if _device(device) not in known:
        shown = "/".join(part for part in _device(device) if part)
        found.append(invalid_value(path, shown, "must be an allocated device in the claim"))
    conditions = device.get("conditions") or ()
    if len(conditions) > _MAX_CONDITIONS:
        found.append(too_many(f"{path}.conditions", len(conditions), _MAX_CONDITIONS))
    if device.get("data") is not None:
        found += device_rules.raw_causes(device["data"], f"{path}.data", _MAX_DATA)
    return found + _network_causes(device.get("networkData") or {}, f"{path}.networkData")


def _network_causes(data: Tree, path: str) -> list[Cause]:
    found: list[Cause] = []
    for field, limit in (("interfaceName", _MAX_INTERFACE), ("hardwareAddress", _MAX_HARDWARE)):
        if len(data.get(field) or "") > limit:
            found.append(too_long(f"{path}.{field}", limit))
    return found + device_names.list_causes(data.get("ips") or [], f"{path}.ips", _MAX_ADDRESSES, _address_causes, str)


def _address_causes(address: str, path: str) -> list[Cause]:
    try:
        given = ipaddress.ip_interface(address)
    except ValueError:
        given = None
    if given is None or "/" not in address:
        text = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        return [invalid_value(path, address, text)]
    if str(given) != address:
        return [invalid_value(path, address, f'must be in canonical form ("{given}")')]
    return []
