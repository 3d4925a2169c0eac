"""Names in dynamic resource allocation: of pools, of attributes and capacities; and lists with a limit.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from sampan.kinds.parts import storage_rules
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required, too_long, too_many

Check = Callable[[Any, str], list[Cause]]

EFFECTS = ("NoExecute", "NoSchedule", "None")
MAX_KEY = 63 + 1 + 32

_MAX_ID = 32
_MAX_POOL = 253
_OPERATORS = ("Equal", "Exists")
_ELLIPSIS = "..."


def driver_causes(name: str, path: str) -> list[Cause]:
    """The name of a DRA driver."""
    return storage_rules.driver_causes(name, path)


def label_causes(name: str, path: str) -> list[Cause]:
    """The name of a device, request or set of counters."""
    return [invalid_value(path, name, text) for text in names.dns1123_label(name)]


def pool_causes(name: str, path: str) -> list[Cause]:
    """The name of a pool: DNS names, separated by slashes."""
    if not name:
        return [required(path)]
    found = [too_long(path, _MAX_POOL)] if len(name) > _MAX_POOL else []
    parts = name.split("/")
    return found + [invalid_value(path, part, text) for part in parts for text in names.dns1123_subdomain(part)]


def qualified_causes(name: str, path: str) -> list[Cause]:
    """The name of an attribute or capacity: an identifier, perhaps after a domain and a slash."""
    domain, slash, identifier = name.partition("/")
    if not slash:
        return _identifier_causes(name, path)
    found = driver_causes(domain, path) if domain else [invalid_value(path, "", "the domain must not be empty")]
    if not identifier:
        return [*found, invalid_value(path, "", "the name must not be empty")]
    return found if "/" in identifier else found + _identifier_causes(identifier, path)


def fully_qualified_causes(name: str, path: str) -> list[Cause]:
    """One with a domain."""
    found = qualified_causes(name, path)
    if "/" not in name:
        text = "a fully qualified name must be a domain and a name separated by a slash"
        found.append(invalid_value(path, name, text))
    return found


def _identifier_causes(name: str, path: str) -> list[Cause]:
    found = [too_long(path, _MAX_ID)] if len(name) > _MAX_ID else []
    return found + [invalid_value(path, name, text) for text in names.c_identifier(name)]


def list_causes(
    items: Sequence[Any], path: str, limit: int, check: Check, key: Callable[[Any], Hashable] | None = None
) -> list[Cause]:
    """Each item's own causes; at most `limit` items (-1 for any number); with `key`, none twice."""
    if 0 <= limit < len(items):
        return [too_many(path, len(items), limit)]
    found = [cause for index, item in enumerate(items) for cause in check(item, f"{path}[{index}]")]
    seen: set[Hashable] = set()
    for index, item in enumerate(items) if key else ():
        name = key(item) if key else None
        if name in seen:
            found.append(duplicate(f"{path}[{index}]", list(name) if isinstance(name, tuple) else name))
        seen.add(name)
    return found


def map_causes(items: Mapping[str, Any], path: str, limit: int, key_check: Check, check: Check) -> list[Cause]:
    """Causes of keys (at the map) and of values (at their keys)."""
    if 0 <= limit < len(items):
        return [too_many(path, len(items), limit)]
    found: list[Cause] = []
    for key, item in items.items():
        found += key_check(key, path) + check(item, f"{path}[{shortened(key)}]")
    return found


def shortened(key: str) -> str:
    """A key that is no longer than a good one may be, cut in the middle."""
    if len(key) <= MAX_KEY:
        return key
    remaining = MAX_KEY - len(_ELLIPSIS)
    return key[: (remaining + 1) // 2] + _ELLIPSIS + key[len(key) - remaining // 2 :]


def toleration_causes(toleration: Mapping[str, Any], path: str) -> list[Cause]:
    """A toleration of devices' taints."""
    key, value, operator = (toleration.get(name) or "" for name in ("key", "value", "operator"))
    found = [invalid_value(f"{path}.key", key, text) for text in names.qualified_name(key)] if key else []
    if operator == "Exists" and value:
        found.append(invalid_value(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        found += [invalid_value(f"{path}.value", value, text) for text in names.label_value(value)]
    elif not operator:
        found.append(required(f"{path}.operator"))
    elif operator not in _OPERATORS:
        found.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    effect = toleration.get("effect")
    return [*found, not_supported(f"{path}.effect", effect, EFFECTS)] if effect and effect not in EFFECTS else found


def binding_causes(holder: Mapping[str, Any], path: str) -> list[Cause]:
    """Conditions that a device waits for, and those that say it failed: both or none, and none in both."""
    wanted, failed = holder.get("bindingConditions") or [], holder.get("bindingFailureConditions") or []
    found: list[Cause] = []
    for field, conditions in (("bindingConditions", wanted), ("bindingFailureConditions", failed)):
        found += list_causes(conditions, f"{path}.{field}", 4, _condition_causes, str)
    text = "bindingFailureConditions must not overlap with bindingConditions"
    for index, condition in enumerate(failed):
        if condition in wanted:
            found.append(invalid_value(f"{path}.bindingFailureConditions[{index}]", condition, text))
    if failed and not wanted:
        text = "bindingConditions are required to use bindingFailureConditions"
        found.append(invalid_value(f"{path}.bindingConditions", wanted or None, text))
    if wanted and not failed:
        text = "bindingFailureConditions are required to use bindingConditions"
        found.append(invalid_value(f"{path}.bindingFailureConditions", failed or None, text))
    return found


def _condition_causes(name: str, path: str) -> list[Cause]:
    return [invalid_value(path, name, text) for text in names.qualified_name(name)]
