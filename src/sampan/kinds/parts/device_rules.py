"""Which wishes for devices are refused: requests, selectors, constraints and configuration of a claim or class.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from sampan.cel.program import Program
from sampan.kinds.parts import device_names
from sampan.meta import names, quantity
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required, too_long

Tree = Mapping[str, Any]
Requests = Mapping[str, frozenset[str]]

MAX_LIST = 32
MAX_PARAMETERS = 10 * 1024

_MAX_ALTERNATIVES = 8
_MAX_EXPRESSION = 10 * 1024
_MAX_COST = 1_000_000
_MAX_TOLERATIONS = 16
_MAX_VALUE = 64
_MODES = ("All", "ExactCount")
_ONE_TEXT = "exactly one of `exactly` or `firstAvailable` is required"
_REFERENCE_TEXT = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)


def default(spec: dict[str, Any]) -> None:
    """A request is for one device; a toleration's value counts. In place."""
    for request in (spec.get("devices") or {}).get("requests") or ():
        for wish in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if wish is not None:
                _default_wish(wish)


def _default_wish(wish: dict[str, Any]) -> None:
    if not wish.get("allocationMode"):
        wish["allocationMode"] = "ExactCount"
    if wish["allocationMode"] == "ExactCount" and not wish.get("count"):
        wish["count"] = 1
    for toleration in wish.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


def claim_causes(spec: Tree, path: str) -> list[Cause]:
    """All that is wrong with a claim's spec."""
    devices, where = spec.get("devices") or {}, f"{path}.devices"
    known = request_names(spec)
    found = device_names.list_causes(
        devices.get("requests") or [], f"{where}.requests", MAX_LIST, _request_causes, lambda r: r.get("name") or ""
    )
    found += device_names.list_causes(
        devices.get("constraints") or [],
        f"{where}.constraints",
        MAX_LIST,
        lambda constraint, at: _constraint_causes(constraint, at, known),
    )
    found += device_names.list_causes(
        devices.get("config") or [],
        f"{where}.config",
        MAX_LIST,
        lambda config, at: references_causes(config, at, known) + config_causes(config, at),
    )
    return found


def request_names(spec: Tree) -> Requests:
    """The requests of a claim's spec by name, each with the names of its alternatives."""
    requests = (spec.get("devices") or {}).get("requests") or ()
    return {
        r.get("name") or "": frozenset(sub.get("name") or "" for sub in r.get("firstAvailable") or ()) for r in requests
    }


def reference_causes(name: str, path: str, known: Requests) -> list[Cause]:
    """The name of a request, or of a request and one of its alternatives."""
    parts = name.split("/")
    if len(parts) > 2:
        return [invalid_value(path, name, _REFERENCE_TEXT)]
    found = [cause for part in parts for cause in device_names.label_causes(part, path)]
    if parts[0] not in known or (len(parts) == 2 and parts[1] not in known[parts[0]]):
        found.append(invalid_value(path, name, _REFERENCE_TEXT))
    return found


def references_causes(holder: Tree, path: str, known: Requests) -> list[Cause]:
    """`requests` of a constraint or configuration."""
    return device_names.list_causes(
        holder.get("requests") or [],
        f"{path}.requests",
        MAX_LIST,
        lambda name, at: reference_causes(name, at, known),
        str,
    )


def selector_list_causes(selectors: list[Any], path: str) -> list[Cause]:
    """Expressions that devices must fulfil."""
    return device_names.list_causes(selectors, path, MAX_LIST, _selector_causes)


def config_causes(config: Tree, path: str) -> list[Cause]:
    """What a driver is told."""
    opaque = config.get("opaque")
    if opaque is None:
        return [required(f"{path}.opaque")]
    found = device_names.driver_causes(opaque.get("driver") or "", f"{path}.opaque.driver")
    return found + raw_causes(opaque.get("parameters"), f"{path}.opaque.parameters", MAX_PARAMETERS)


def raw_causes(value: Any, path: str, limit: int) -> list[Cause]:
    """An object of any kind, not too long."""
    if value is None:
        return [required(path)]
    if not isinstance(value, dict):
        return [invalid_value(path, "<value omitted>", "must be a valid JSON object")]
    return [too_long(path, limit)] if len(orjson.dumps(value)) > limit else []


def _request_causes(request: Tree, path: str) -> list[Cause]:
    found = device_names.label_causes(request.get("name") or "", f"{path}.name")
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not alternatives:
        return [*found, required(path, _ONE_TEXT)]
    if exactly is not None and alternatives:
        return [*found, invalid_value(path, None, f"{_ONE_TEXT}, but multiple fields are set")]
    if exactly is not None:
        return found + _wish_causes(exactly, f"{path}.exactly")
    return found + device_names.list_causes(
        alternatives,
        f"{path}.firstAvailable",
        _MAX_ALTERNATIVES,
        lambda sub, at: device_names.label_causes(sub.get("name") or "", f"{at}.name") + _wish_causes(sub, at),
        lambda sub: sub.get("name") or "",
    )


def _wish_causes(wish: Tree, path: str) -> list[Cause]:
    name, mode, count = wish.get("deviceClassName") or "", wish.get("allocationMode"), wish.get("count") or 0
    where = f"{path}.deviceClassName"
    found = [invalid_value(where, name, t) for t in names.dns1123_subdomain(name)] if name else [required(where)]
    found += selector_list_causes(wish.get("selectors") or [], f"{path}.selectors")
    if mode == "All" and count:
        text = "must not be specified when allocationMode is 'All'"
        found.append(invalid_value(f"{path}.count", count, text))
    elif mode == "ExactCount" and count <= 0:
        found.append(invalid_value(f"{path}.count", count, "must be greater than zero"))
    elif mode not in _MODES:
        found.append(not_supported(f"{path}.allocationMode", mode or "", _MODES))
    found += device_names.list_causes(
        wish.get("tolerations") or [], f"{path}.tolerations", _MAX_TOLERATIONS, device_names.toleration_causes
    )
    amounts = (wish.get("capacity") or {}).get("requests") or {}
    return found + device_names.map_causes(
        amounts, f"{path}.capacity.requests", -1, device_names.qualified_causes, amount_causes
    )


def amount_causes(value: Any, path: str) -> list[Cause]:
    """A quantity."""
    complaint = quantity.validate(value)
    return [invalid_value(path, str(value), complaint)] if complaint else []


def _constraint_causes(constraint: Tree, path: str, known: Requests) -> list[Cause]:
    found = references_causes(constraint, path, known)
    given = [f for f in ("matchAttribute", "distinctAttribute") if constraint.get(f) is not None]
    if not given:
        text = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        return [*found, required(path, text)]
    return found + device_names.fully_qualified_causes(constraint[given[0]], f"{path}.{given[0]}")


def _selector_causes(selector: Tree, path: str) -> list[Cause]:
    cel = selector.get("cel")
    if cel is None:
        return [required(f"{path}.cel")]
    source, where = cel.get("expression") or "", f"{path}.cel.expression"
    if len(source) > _MAX_EXPRESSION:
        return [too_long(where, _MAX_EXPRESSION)]
    try:
        program = _environment().compile(source)
    except CompileError as error:
        return [invalid_value(where, source, str(error))]
    if program.result_type not in (types.BOOL, types.DYN):
        text = f"must evaluate to bool or the unknown type, not {program.result_type}"
        return [invalid_value(where, source, text)]
    if program.cost.max > _MAX_COST:
        return [forbidden_field(where, "too complex, exceeds cost limit")]
    return []


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """One variable, the device. Its maps are of the size that a device may have."""
    return Environment({"device": device_type()})


def selector(expression: str) -> Program:
    """A selector, ready to be asked about a `device`. Raises CompileError."""
    return _environment().compile(expression)


def device_type() -> types.Type:
    """`device` in a selector: driver, attributes and capacity by domain and name, allowMultipleAllocations."""
    fields = {
        "driver": _bounded(types.Type("string"), 63),
        "attributes": _by_domain(_bounded(types.Type("dyn"), _MAX_VALUE)),
        "capacity": _by_domain(types.QUANTITY),
        "allowMultipleAllocations": types.BOOL,
    }
    return types.object_of("kubernetes.DRADevice", fields)


def _by_domain(value: types.Type) -> types.Type:
    inner = _bounded(types.map_of(_bounded(types.Type("string"), 32), value), MAX_LIST)
    return _bounded(types.map_of(_bounded(types.Type("string"), 63), inner), MAX_LIST)


def _bounded(type_: types.Type, size: int) -> types.Type:
    type_.max_size = size
    return type_
