"""Selecting: what CEL selectors say of a device; each is asked once. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/#CELDeviceSelector
"""

from collections.abc import Mapping
from typing import Any

from sampan.cel.environment import CompileError
from sampan.cel.library import quantities, versions
from sampan.cel.program import Budget
from sampan.cel.values import EvaluationError
from sampan.kinds.parts import device_rules
from sampan.meta import quantity
from sampan.scheduling.devices.pools import Device
from sampan.scheduling.devices.wishes import Wish

Tree = Mapping[str, Any]


class SelectorError(Exception):
    """A selector does not compile, or cannot be evaluated for a device."""


class _Domains(dict[str, dict[str, Any]]):
    """By domain and name; a domain that is not there is empty."""

    def __missing__(self, domain: str) -> dict[str, Any]:
        return {}


def is_asked(wish: Wish, device: Device) -> bool:
    """Whether all that is to be known about them is known already."""
    return all(expression in device.matched for _, expression in wish.selectors)


def matches(wish: Wish, device: Device) -> bool:
    """Whether all selectors of the class and of the wish mean the device. Raises SelectorError."""
    matched = device.matched
    for label, expression in wish.selectors:
        found = matched.get(expression)
        if found is None:
            found = matched[expression] = _evaluated(expression, device)
        if isinstance(found, str):
            raise SelectorError(label + found)
        if not found:
            return False
    return True


def _evaluated(expression: str, device: Device) -> bool | str:
    """What it says, or what is wrong with it."""
    try:
        program = device_rules.selector(expression)
    except CompileError as error:
        return f"CEL compile error: {error}"
    try:
        return bool(program.value({"device": _view(device)}, Budget()))
    except EvaluationError as error:
        return f"CEL runtime error: {error}"


def _view(device: Device) -> Tree:
    attributes, capacity = _Domains(), _Domains()
    for name, value in device.attributes.items():
        domain, _, short = name.partition("/")
        attributes.setdefault(domain, {})[short] = _attribute(value)
    for name, described in device.capacity.items():
        domain, _, short = name.partition("/")
        value = quantity.parse(described.get("value") or "0")
        capacity.setdefault(domain, {})[short] = quantities.Quantity(value)
    return {
        "driver": device.driver,
        "attributes": attributes,
        "capacity": capacity,
        "allowMultipleAllocations": device.is_shared,
    }


def _attribute(value: Tree) -> Any:
    if "version" in value:
        return versions.parse(str(value["version"]))
    return next((value[kind] for kind in ("int", "bool", "string") if kind in value), None)
