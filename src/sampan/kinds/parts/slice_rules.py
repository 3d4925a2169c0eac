"""Which ResourceSlices are refused: where devices are, what they have, what they share.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-slice-v1/
"""

import re
from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import capacity_rules, device_names, device_rules, node_selector_rules, resource_rules
from sampan.meta import names, quantity
from sampan.meta.status import Cause, invalid_value, not_found_field, not_supported, required, too_long

Tree = Mapping[str, Any]

MAX_DEVICES = 128
MAX_ADVANCED_DEVICES = 64

_MAX_ENTRIES = 32
_MAX_COUNTER_SETS = 8
_MAX_CONSUMPTIONS = 2
_MAX_COUNTERS = 32
_MAX_TAINTS = 16
_MAX_TEXT = 64
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_TEXT = f"exactly one of {', '.join(f'`{place}`' for place in _PLACES)} is required"
_DEVICE_TEXT = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NO_DEVICE_TEXT = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)
_NUMBER, _MARK, _BUILD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)", "[0-9a-zA-Z-]+"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_MARK}(\.{_MARK})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII)


def causes(spec: Tree, before: Tree | None) -> list[Cause]:
    """All that is wrong with a slice's spec; `before` is the stored one."""
    found = device_names.driver_causes(spec.get("driver") or "", "spec.driver")
    found += _pool_causes(spec.get("pool") or {})
    if before is not None:
        found += _kept_causes(spec, before)
    found += _place_causes(spec)
    devices, counters = spec.get("devices"), spec.get("sharedCounters")
    if devices is not None and counters is not None:
        found.append(invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    old = {device.get("name"): device for device in (before or {}).get("devices") or ()}
    is_advanced = any(device.get("taints") or device.get("consumesCounters") for device in devices or ())
    each = bool(spec.get("perDeviceNodeSelection"))
    found += device_names.list_causes(
        devices or [],
        "spec.devices",
        MAX_ADVANCED_DEVICES if is_advanced else MAX_DEVICES,
        lambda device, path: _device_causes(device, path, old.get(device.get("name")), each=each),
        lambda device: device.get("name") or "",
    )
    return found + device_names.list_causes(
        counters or [], "spec.sharedCounters", _MAX_COUNTER_SETS, _counter_set_causes, lambda s: s.get("name") or ""
    )


def _pool_causes(pool: Tree) -> list[Cause]:
    found = device_names.pool_causes(pool.get("name") or "", "spec.pool.name")
    count, generation = pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    if count <= 0:
        found.append(invalid_value("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        found.append(invalid_value("spec.pool.generation", generation, "must be greater than or equal to zero"))
    return found


def _kept_causes(spec: Tree, before: Tree) -> list[Cause]:
    pool, had = (spec.get("pool") or {}).get("name"), (before.get("pool") or {}).get("name")
    found = [] if pool == had else [invalid_value("spec.pool.name", pool, "field is immutable")]
    return found + [
        invalid_value(f"spec.{field}", spec.get(field), "field is immutable")
        for field in ("driver", "nodeName")
        if spec.get(field) != before.get(field)
    ]


def _place_causes(spec: Tree) -> list[Cause]:
    found: list[Cause] = []
    given: list[str] = []
    node, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if node == "":
        text = "must be either unset or set to a non-empty string"
        found.append(invalid_value("spec.nodeName", node, text))
    elif node is not None:
        given.append("nodeName")
        found += [invalid_value("spec.nodeName", node, text) for text in names.dns1123_subdomain(node)]
    if selector is not None:
        given.append("nodeSelector")
        found += node_selector_rules.causes(selector, "spec.nodeSelector")
        if len(selector.get("nodeSelectorTerms") or ()) != 1:
            path = "spec.nodeSelector.nodeSelectorTerms"
            text = "must have exactly one node selector term"
            found.append(invalid_value(path, selector.get("nodeSelectorTerms"), text))
    for flag in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(flag) is False:
            found.append(invalid_value(f"spec.{flag}", False, "must be either unset or set to true"))
        elif spec.get(flag):
            given.append(flag)
    if not given:
        found.append(required("spec", _ONE_TEXT))
    elif len(given) > 1:
        shown = "{" + ", ".join(f"`{place}`" for place in given) + "}"
        found.append(invalid_value("spec", shown, f"{_ONE_TEXT}, but multiple fields are set"))
    return found


def _device_causes(device: Tree, path: str, before: Tree | None, *, each: bool) -> list[Cause]:
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    found = device_names.label_causes(device.get("name") or "", f"{path}.name")
    if len(attributes) + len(capacity) > _MAX_ENTRIES:
        text = f"the total number of attributes and capacities must not exceed {_MAX_ENTRIES}"
        found.append(invalid_value(path, len(attributes) + len(capacity), text))
    qualified = device_names.qualified_causes
    found += device_names.map_causes(attributes, f"{path}.attributes", -1, qualified, _attribute_causes)
    shared = bool(device.get("allowMultipleAllocations"))
    found += device_names.map_causes(
        capacity, f"{path}.capacity", -1, qualified, lambda c, at: capacity_rules.causes(c, at, shared=shared)
    )
    if before is None or before.get("taints") != device.get("taints"):
        found += device_names.list_causes(device.get("taints") or [], f"{path}.taints", _MAX_TAINTS, _taint_causes)
    found += device_names.list_causes(
        device.get("consumesCounters") or [],
        f"{path}.consumesCounters",
        _MAX_CONSUMPTIONS,
        lambda c, at: _counters_causes(c, at, "counterSet"),
        lambda c: c.get("counterSet") or "",
    )
    found += _device_place_causes(device, path, each=each)
    found += device_names.binding_causes(device, path)
    for name, mapping in (device.get("nodeAllocatableResourceMappings") or {}).items():
        found += _mapping_causes(name, mapping, f"{path}.nodeAllocatableResourceMappings[{name}]", capacity)
    return found


def _device_place_causes(device: Tree, path: str, *, each: bool) -> list[Cause]:
    places = ("nodeName", "nodeSelector", "allNodes")
    if not each:
        given = any(device.get(place) is not None for place in places)
        return [invalid_value(path, None, _NO_DEVICE_TEXT)] if given else []
    found: list[Cause] = []
    node = device.get("nodeName")
    if node == "":
        found.append(invalid_value(f"{path}.nodeName", node, "must not be empty"))
    elif node is not None:
        found += [invalid_value(f"{path}.nodeName", node, text) for text in names.dns1123_subdomain(node)]
    if device.get("nodeSelector") is not None:
        found += node_selector_rules.causes(device["nodeSelector"], f"{path}.nodeSelector")
    if device.get("allNodes") is False:
        found.append(invalid_value(f"{path}.allNodes", False, "must be either unset or set to true"))
    chosen = [place for place in places if device.get(place)]
    if not chosen:
        found.append(required(path, _DEVICE_TEXT))
    elif len(chosen) > 1:
        shown = "{" + ", ".join(f"`{place}`" for place in chosen) + "}"
        found.append(invalid_value(path, shown, _DEVICE_TEXT))
    return found


def _attribute_causes(attribute: Tree, path: str) -> list[Cause]:
    given = {name: value for name, value in attribute.items() if value is not None}
    found: list[Cause] = []
    for name, value in given.items():
        if name in ("strings", "versions", "ints", "bools") and not value:
            found.append(invalid_value(f"{path}.{name}", value, "must not be empty if specified"))
        for text, where in _texts(name, value, path):
            if name.startswith("version") and _VERSION.fullmatch(text) is None:
                found.append(invalid_value(where, text, "must be a string compatible with semver.org spec 2.0.0"))
            if len(text) > _MAX_TEXT:
                found.append(too_long(where, _MAX_TEXT))
    if len(given) != 1:
        found.append(invalid_value(path, given or "", "exactly one value must be specified"))
    return found


def _texts(name: str, value: Any, path: str) -> list[tuple[str, str]]:
    if name in ("string", "version"):
        return [(value, f"{path}.{name}")]
    if name in ("strings", "versions"):
        return [(text, f"{path}.{name}[{index}]") for index, text in enumerate(value)]
    return []


def _taint_causes(taint: Tree, path: str) -> list[Cause]:
    key, value, effect = (taint.get(name) or "" for name in ("key", "value", "effect"))
    found = [invalid_value(f"{path}.key", key, text) for text in names.qualified_name(key)]
    found += [invalid_value(f"{path}.value", value, text) for text in names.label_value(value)] if value else []
    if not effect:
        found.append(required(f"{path}.effect"))
    elif effect not in device_names.EFFECTS:
        found.append(not_supported(f"{path}.effect", effect, device_names.EFFECTS))
    return found


def _counter_set_causes(counters: Tree, path: str) -> list[Cause]:
    return _counters_causes(counters, path, "name")


def _counters_causes(holder: Tree, path: str, field: str) -> list[Cause]:
    """A name in `field`, and counters by name."""
    name, counters = holder.get(field) or "", holder.get("counters") or {}
    found = device_names.label_causes(name, f"{path}.{field}") if name else [required(f"{path}.{field}")]
    if not counters:
        return [*found, required(f"{path}.counters")]
    return found + device_names.map_causes(
        counters,
        f"{path}.counters",
        _MAX_COUNTERS,
        device_names.label_causes,
        lambda counter, at: device_rules.amount_causes(counter.get("value") or "0", f"{at}.value"),
    )


def _mapping_causes(name: str, mapping: Tree, path: str, capacity: Tree) -> list[Cause]:
    found: list[Cause] = []
    times, key = mapping.get("allocationMultiplier"), mapping.get("capacityKey")
    if not resource_rules.is_native(name):
        found.append(invalid_value(path, name, "must be a node allocatable resource name"))
    if times is None and key is None:
        text = "at least one of allocationMultiplier or capacityKey must be set"
        return [*found, invalid_value(path, "", text)]
    if times is not None and quantity.validate(times) is None and quantity.parse(times).nanos <= 0:
        found.append(invalid_value(f"{path}.allocationMultiplier", str(times), "must be positive"))
    if key == "":
        found.append(invalid_value(f"{path}.capacityKey", "", "capacityKey must not be an empty string"))
    elif key is not None and key not in capacity:
        found.append(not_found_field(f"{path}.capacityKey", key))
    return found
