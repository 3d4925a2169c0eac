"""LimitRange: how much one container, pod or claim of a namespace may ask for, and what it gets unasked.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/limit-range-v1/
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import resource_names
from sampan.kinds.parts.cells import CREATED_AT
from sampan.meta import names, quantity
from sampan.meta.quantity import Quantity
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, required

LIMITRANGE = Kind(
    group="",
    versions=("v1",),
    name="LimitRange",
    plural="limitranges",
    schema="io.k8s.api.core.v1.LimitRange",
    short_names=("limits",),
    put_creates=True,
    columns=(CREATED_AT,),
)

CONTAINER, POD, CLAIM = "Container", "Pod", "PersistentVolumeClaim"
_MAPS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")

Found = dict[str, Quantity]
Check = Callable[[str, str], list[Cause]]


def default(obj: Object) -> None:
    """A container's default limit is the maximum; its default request is that limit, or else the minimum."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != CONTAINER:
            continue
        limit = {**(item.get("max") or {}), **(item.get("default") or {})}
        request = {**(item.get("min") or {}), **limit, **(item.get("defaultRequest") or {})}
        for name, amounts in (("default", limit), ("defaultRequest", request)):
            if amounts:
                item[name] = amounts


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Each type once; minima, defaults and maxima in their order."""
    found: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate((new.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{index}]", item.get("type") or ""
        found += _type_causes(kind, f"{path}.type")
        if kind in seen:
            found.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        found += _item_causes(item, kind, path)
    return found


def _type_causes(kind: str, path: str) -> list[Cause]:
    found = [invalid_value(path, kind, text) for text in names.qualified_name(kind)]
    if not found and "/" not in kind and kind not in (CONTAINER, POD, CLAIM):
        found.append(invalid_value(path, kind, "must be a standard limit type or fully qualified"))
    return found


def _item_causes(item: Mapping[str, Any], kind: str, path: str) -> list[Cause]:
    found: list[Cause] = []
    amounts: dict[str, Found] = {}
    for name in _MAPS:
        if kind == POD and name.startswith("default"):
            if item.get(name):
                found.append(forbidden_field(f"{path}.{name}", "may not be specified when `type` is 'Pod'"))
            amounts[name] = {}
            continue
        check = resource_names.container_causes if kind in (CONTAINER, POD) else resource_names.causes
        amounts[name], wrong = _amounts(item.get(name) or {}, f"{path}.{name}", check)
        found += wrong
    if kind == CLAIM and "storage" not in amounts["min"] and "storage" not in amounts["max"]:
        text = "either minimum or maximum storage value is required, but neither was provided"
        found.append(required(f"{path}.limits", text))
    for key in dict.fromkeys(key for name in _MAPS for key in amounts[name]):
        found += _order_causes(key, {n: amounts[n][key] for n in _MAPS if key in amounts[n]}, path)
    return found


def _amounts(given: Mapping[str, Any], path: str, check: Check) -> tuple[Found, list[Cause]]:
    found: list[Cause] = []
    good: Found = {}
    for key, value in given.items():
        complaint = quantity.validate(value)
        if complaint:
            found.append(invalid_value(f"{path}[{key}]", str(value), complaint))
        else:
            found += check(key, f"{path}[{key}]")
            good[key] = quantity.parse(value)
    return good, found


# (smaller, greater, where, message): what is compared, and the map under which a wrong order is reported.
_ORDER = (
    ("min", "max", "min", "min value {0} is greater than max value {1}"),
    ("min", "defaultRequest", "defaultRequest", "min value {0} is greater than default request value {1}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {0} is greater than max value {1}"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "default request value {0} is greater than default limit value {1}",
    ),
    ("min", "default", "default", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "default value {0} is greater than max value {1}"),
)
_SHOWN = {("min", "default"): "min", ("default", "max"): "max"}


def _order_causes(key: str, has: Found, path: str) -> list[Cause]:
    found = []
    for small, great, where, message in _ORDER:
        if small in has and great in has and quantity.compare(has[small], has[great]) > 0:
            value = str(has[_SHOWN.get((small, great), where)])
            text = message.format(has[small], has[great])
            found.append(invalid_value(f"{path}.{where}[{key}]", value, text))
    ratio = has.get("maxLimitRequestRatio")
    if ratio is not None:
        found += _ratio_causes(ratio, has, f"{path}.maxLimitRequestRatio[{key}]")
    limit, request = has.get("default"), has.get("defaultRequest")
    if limit is not None and request is not None and not resource_names.may_overcommit(key) and limit != request:
        text = f"default value {limit} must equal to defaultRequest value {request} in {key}"
        found.append(invalid_value(f"{path}.defaultRequest[{key}]", str(request), text))
    return found


def _ratio_causes(ratio: Quantity, has: Found, path: str) -> list[Cause]:
    found = []
    if float(ratio) < 1:
        found.append(invalid_value(path, str(ratio), f"ratio {ratio} is less than 1"))
    if "min" in has and "max" in has and float(has["min"]):
        most = float(has["max"]) / float(has["min"])
        if float(ratio) > most:
            found.append(invalid_value(path, str(ratio), f"ratio {ratio} is greater than max/min = {most:f}"))
    return found
