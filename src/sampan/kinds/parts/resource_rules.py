"""Which amounts of resources are refused: of a container, of a whole pod, of what a runtime costs.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.kinds.parts import pod_resources, resource_names
from sampan.kit.texts import Texts
from sampan.meta import names, quantity
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

Resources = Mapping[str, Any]

POD_RESOURCES = ("cpu", "memory")

_HUGE = "hugepages-"
_NATIVE = "kubernetes.io/"
_REQUESTS = "requests."


def container_causes(resources: Resources, path: str, claims: Iterable[str] = ()) -> list[Cause]:
    """Of a container: amounts are quantities, no request is above its limit. `claims` are the pod's, by name."""
    found = _claim_causes(resources.get("claims") or (), f"{path}.claims", sorted(claims))
    limits, asked = resources.get("limits"), resources.get("requests")
    if not limits and not asked:
        return found
    return found + _amounts_causes(limits or {}, asked or {}, path)


def pod_causes(spec: Resources, path: str) -> list[Cause]:
    """Of a whole pod: cpu, memory and huge pages, at least what its containers ask for together."""
    resources = spec["resources"]
    limits, asked = resources.get("limits") or {}, resources.get("requests") or {}
    found: list[Cause] = []
    if resources.get("claims") is not None:
        found.append(forbidden_field(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    for part, amounts in (("limits", limits), ("requests", asked)):
        unknown = [name for name in amounts if name not in POD_RESOURCES and not name.startswith(_HUGE)]
        found += [not_supported(f"{path}.{part}[{name}]", name, POD_RESOURCES) for name in unknown]
    found += _amounts_causes(limits, asked, path)
    return found or _consistency_causes(spec, limits, asked, path)


def _consistency_causes(spec: Resources, limits: Resources, asked: Resources, path: str) -> list[Cause]:
    found = []
    parts = {k: v for k, v in spec.items() if k not in ("resources", "overhead")}
    for name, total in pod_resources.requests(parts).items():
        if name not in POD_RESOURCES and not name.startswith(_HUGE):
            continue
        given = quantity.parse(asked.get(name) or limits.get(name) or "0")
        if total.nanos > given.nanos:
            text = f"must be greater than or equal to aggregate container requests of {total}"
            found.append(invalid_value(f"{path}.requests[{name}]", str(given), text))
    for index, container in enumerate(spec.get("containers") or ()):
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and quantity.compare(value, limits[name]) > 0:
                text = f"must be less than or equal to pod limits of {quantity.canonical(limits[name])}"
                where = f"{path}.containers[{index}][{name}].limits"
                found.append(invalid_value(where, quantity.canonical(value), text))
    return found


def _amounts_causes(limits: Resources, asked: Resources, path: str) -> list[Cause]:
    found: list[Cause] = []
    for part, amounts in (("limits", limits), ("requests", asked)):
        for name, value in amounts.items():
            found += _amount_causes(name, value, f"{path}.{part}[{name}]")
    if found and any(quantity.validate(value) for amounts in (limits, asked) for value in amounts.values()):
        return found
    for name, value in asked.items():
        found += _pair_causes(name, value, limits.get(name), path)
    huge = [name for name in {**limits, **asked} if name.startswith(_HUGE)]
    if huge and not any(name in amounts for name in POD_RESOURCES for amounts in (limits, asked)):
        found.append(forbidden_field(path, "HugePages require cpu or memory"))
    return found


def _pair_causes(name: str, value: Any, limit: Any, path: str) -> list[Cause]:
    """A request and the limit beside it."""
    if limit == value:
        return []
    is_exact = name.startswith(_HUGE) or not _is_native(name)
    if limit is None:
        text = "Limit must be set for non overcommitable resources"
        return [required(f"{path}.limits", text)] if is_exact else []
    over = quantity.compare(value, limit)
    if is_exact and over:
        text = f"must be equal to {name} limit of {quantity.canonical(limit)}"
    elif over > 0:
        text = f"must be less than or equal to {name} limit of {quantity.canonical(limit)}"
    else:
        return []
    return [invalid_value(f"{path}.requests", quantity.canonical(value), text)]


def _amount_causes(name: str, value: Any, path: str) -> list[Cause]:
    complaint = quantity.validate(value)
    if complaint:
        return [invalid_value(path, str(value), complaint)]
    amount = quantity.parse(value)
    if name in resource_names.COMPUTE:
        bad = amount.nanos < 0
        return [invalid_value(path, str(value), "must be greater than or equal to 0")] if bad else []
    return resource_names.container_causes(name, path) + resource_names.amount_causes(name, value, path)


def is_extended(name: str) -> bool:
    """Whether it may name a resource that nodes advertise beside the standard ones, such as example.com/gpu."""
    return _EXTENDED[name]


def _is_extended(name: str) -> bool:
    return not _is_native(name) and not name.startswith(_REQUESTS) and not names.qualified_name(_REQUESTS + name)


_EXTENDED = Texts(_is_extended, 512)


def is_native(name: str) -> bool:
    """Whether the resource is Kubernetes' own."""
    return _is_native(name)


def _is_native(name: str) -> bool:
    return "/" not in name or _NATIVE in name


def _claim_causes(asked: Iterable[Resources], path: str, claims: list[str]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, claim in enumerate(asked):
        name, where = claim.get("name") or "", f"{path}[{index}]"
        if not name:
            found.append(required(where))
            continue
        key = (name, claim.get("request") or "")
        if key in seen:
            found.append(duplicate(where, "/".join(part for part in key if part)))
        seen.add(key)
        if name not in claims:
            known = f": {', '.join(claims)}" if claims else " which is empty"
            text = f'Not found: "{name}": must be one of the names in pod.spec.resourceClaims{known}'
            found.append(Cause(where, "FieldValueNotFound", text))
    return found
