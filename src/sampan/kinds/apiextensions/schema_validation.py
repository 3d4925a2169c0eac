"""A custom object against its schema: types, bounds, patterns, enums, and all, any, one or none of several.

Every complaint has the words and the place that upstream's validator gives it. On updates a value that
did not change is not complained about again, so that a schema may become stricter under stored objects.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation
"""

import math
from collections.abc import Iterable
from typing import Any

from sampan.cel import patience
from sampan.kinds.apiextensions import formats, regex
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value, not_supported, required, too_long, too_many, type_invalid

Node = dict[str, Any]

_CHOICE_COST = 3

NOTHING: Any = object()
"""No old value: everything is looked at."""

ROOT = "<nil>"
"""The field of a complaint about the whole object, as upstream prints its nil path."""


def validate(obj: Any, node: Node, old: Any = NOTHING, path: str = "") -> list[Cause]:
    """All causes; `old` is the stored object of an update. `path` goes before fields that are named."""
    found = _validate(obj, node, path, old)
    return list(dict.fromkeys(found.causes))


class _Result:
    """Causes, and how many checks passed: what decides which of several schemas came closest."""

    __slots__ = ("causes", "passed")

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self.passed = 0

    def merge(self, other: "_Result") -> None:
        self.causes += other.causes
        self.passed += other.passed

    def check(self, causes: Iterable[Cause]) -> None:
        before = len(self.causes)
        self.causes += causes
        self.passed += len(self.causes) == before


def _validate(value: Any, node: Node, path: str, old: Any) -> _Result:
    result = _Result()
    result.check(_type_causes(value, node, path))
    if value is not None:
        _junctions(result, value, node, path, old)
        if isinstance(value, str):
            result.check(_string_causes(value, node, path))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            result.check(_number_causes(value, node, path))
        elif isinstance(value, list):
            _array(result, value, node, path, old)
    result.check(_enum_causes(value, node, path))
    if isinstance(value, dict):
        _object(result, value, node, path, old)
    if result.causes and old is not NOTHING and objects.same(old, value):
        result.causes = []
    return result


# Types


def _type_causes(value: Any, node: Node, path: str) -> list[Cause]:
    wanted, form = _types(node), node.get("format", "")
    if value is None:
        if wanted and not node.get("nullable"):
            return [_wrong_type(path, ",".join(wanted), "null")]
        return []
    if not wanted:
        return []
    given = _type_of(value)
    if given in wanted or (given == "integer" and "number" in wanted):
        return []
    if given == "number" and "integer" in wanted and value.is_integer():
        return []
    if isinstance(value, str | list) and formats.is_known(node.get("type", ""), form) and not _is_numeric(wanted):
        return []
    return [_wrong_type(path, ",".join(wanted), given)]


def _types(node: Node) -> tuple[str, ...]:
    if node.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (node["type"],) if node.get("type") else ()


def _is_numeric(wanted: tuple[str, ...]) -> bool:
    return "integer" in wanted or "number" in wanted


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _wrong_type(path: str, wanted: str, given: Any) -> Cause:
    return type_invalid(field(path), given, f'{path} in body must be of type {wanted}: "{given}"')


def field(path: str) -> str:
    """The field of a cause at a path of the validator's."""
    return path.removeprefix(".") or ROOT


# Scalars


def _string_causes(text: str, node: Node, path: str) -> list[Cause]:
    found: list[Cause] = []
    longest, shortest, pattern = node.get("maxLength"), node.get("minLength"), node.get("pattern")
    if longest is not None and len(text) > longest:
        found.append(too_long(field(path), longest))
    elif shortest is not None and len(text) < shortest:
        found.append(_invalid(path, text, f"should be at least {shortest} chars long"))
    elif pattern and not regex.matches(pattern, text):
        found.append(_invalid(path, text, f"should match '{pattern}'"))
    form = node.get("format", "")
    checked = form and formats.is_known(node.get("type", ""), form) and not _is_numeric(_types(node))
    if checked and not formats.is_of(form, text):
        found.append(type_invalid(field(path), text, f'{path} in body must be of type {form}: "{text}"'))
    return found


def _number_causes(value: float, node: Node, path: str) -> list[Cause]:
    wrong = _range_text(value, node)
    if wrong:
        return [invalid_value(ROOT, "", f"Checked value must be of type {wrong} in {path}")]
    found = []
    factor, highest, lowest = node.get("multipleOf"), node.get("maximum"), node.get("minimum")
    if factor and not _is_multiple(value, factor):
        found.append(_invalid(path, value, f"should be a multiple of {go_number(factor)}"))
    if highest is not None:
        exclusive = bool(node.get("exclusiveMaximum"))
        if value > highest or (exclusive and value == highest):
            words = "less than" if exclusive else "less than or equal to"
            found.append(_invalid(path, value, f"should be {words} {go_number(highest)}"))
    if lowest is not None:
        exclusive = bool(node.get("exclusiveMinimum"))
        if value < lowest or (exclusive and value == lowest):
            words = "greater than" if exclusive else "greater than or equal to"
            found.append(_invalid(path, value, f"should be {words} {go_number(lowest)}"))
    return found


_RANGES = {"int32": 31, "int64": 63}


def _range_text(value: float, node: Node) -> str:
    form, kind = node.get("format", ""), node.get("type", "")
    bits = _RANGES.get(form) if kind == "integer" else None
    if bits is not None and not -(2**bits) <= value < 2**bits:
        return f"integer with format {form}"
    if kind == "number" and form == "float" and abs(value) > 3.4028234663852886e38:
        return "number with format float"
    return ""


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    quotient = value / factor
    return math.isfinite(quotient) and (quotient == round(quotient) or abs(quotient - round(quotient)) < 1e-9)


def go_number(value: float) -> str:
    """A number as Go's %v prints it."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e21):
        return str(int(value))
    return repr(value)


def _enum_causes(value: Any, node: Node, path: str) -> list[Cause]:
    allowed = node.get("enum")
    if not allowed or any(objects.same(choice, value) for choice in allowed):
        return []
    if value is None and node.get("nullable"):
        return []
    texts = [choice if isinstance(choice, str) else show(choice) for choice in allowed]
    return [not_supported(field(path), value if value is not None else "null", texts, in_order=True)]


def _invalid(path: str, value: Any, text: str) -> Cause:
    return invalid_value(field(path), value, f"{path} in body {text}")


# Arrays and objects


def _array(result: _Result, value: list[Any], node: Node, path: str, old: Any) -> None:
    items = node.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            result.merge(_validate(item, items, f"{path}[{index}]", old_item(node, old, item)))
    fewest, most = node.get("minItems"), node.get("maxItems")
    found: list[Cause] = []
    if fewest is not None and len(value) < fewest:
        found.append(_invalid(path, len(value), f"should have at least {fewest} items"))
    if most is not None and len(value) > most:
        found.append(too_many(field(path), len(value), most))
    result.check(found)


def old_item(node: Node, old: Any, item: Any) -> Any:
    """The stored item with the same keys. Only a list of type map has such: any other one changes as a whole."""
    if not isinstance(old, list) or not isinstance(item, dict) or node.get("x-kubernetes-list-type") != "map":
        return NOTHING
    keys = node.get("x-kubernetes-list-map-keys") or ()
    wanted = _map_key(node, item, keys)
    return next((o for o in old if isinstance(o, dict) and objects.same(_map_key(node, o, keys), wanted)), NOTHING)


def _map_key(node: Node, item: Node, keys: Iterable[str]) -> list[Any]:
    properties = (node.get("items") or {}).get("properties") or {}
    return [item.get(key, (properties.get(key) or {}).get("default")) for key in keys]


def _object(result: _Result, value: Node, node: Node, path: str, old: Any) -> None:
    fewest, most = node.get("minProperties"), node.get("maxProperties")
    if fewest is not None and len(value) < fewest:
        result.causes.append(_invalid(path, len(value), f"should have at least {fewest} properties"))
        return
    if most is not None and len(value) > most:
        result.causes.append(too_many(field(path), len(value), most))
        return
    properties, others = node.get("properties") or {}, node.get("additionalProperties")
    before = old if isinstance(old, dict) else {}
    for key, item in value.items():
        where = f"{path}.{key}" if path else key
        if key in properties:
            result.merge(_validate(item, properties[key], where, before.get(key, NOTHING)))
        elif isinstance(others, dict):
            result.merge(_validate(item, others, f"{path}.{key}", before.get(key, NOTHING)))
        elif others is False:
            result.causes.append(invalid_value(field(path), key, f"{path}.{key} in body is a forbidden property"))
    missing = [name for name in node.get("required") or () if name not in value]
    result.check([required(field(f"{path}.{name}")) for name in missing])


# Several schemas at once


def _junctions(result: _Result, value: Any, node: Node, path: str, old: Any) -> None:
    patience.spend(_CHOICE_COST * sum(len(node.get(name) or ()) for name in ("anyOf", "oneOf", "allOf")))
    if node.get("anyOf"):
        _any_of(result, [_validate(value, choice, path, old) for choice in node["anyOf"]], path)
    if node.get("oneOf"):
        _one_of(result, [_validate(value, choice, path, old) for choice in node["oneOf"]], path)
    if node.get("allOf"):
        _all_of(result, [_validate(value, choice, path, old) for choice in node["allOf"]], path)
    if node.get("not") is not None and not _validate(value, node["not"], path, NOTHING).causes:
        result.causes.append(_root_cause(f"{quoted(path)} must not validate the schema (not)"))
    result.passed += 1


def _any_of(result: _Result, tried: list[_Result], path: str) -> None:
    if not all(one.causes for one in tried):
        result.passed += 1
        return
    result.causes.append(_root_cause(f"{quoted(path)} must validate at least one schema (anyOf)"))
    result.merge(_best(tried))


def _one_of(result: _Result, tried: list[_Result], path: str) -> None:
    valid = sum(not one.causes for one in tried)
    if valid == 1:
        result.passed += 1
        return
    why = f"Found {valid} valid alternatives" if valid else "Found none valid"
    result.causes.append(_root_cause(f"{quoted(path)} must validate one and only one schema (oneOf). {why}"))
    if not valid:
        result.merge(_best(tried))


def _all_of(result: _Result, tried: list[_Result], path: str) -> None:
    for one in tried:
        result.merge(one)
    if any(one.causes for one in tried):
        why = ". None validated" if all(one.causes for one in tried) else ""
        result.causes.append(_root_cause(f"{quoted(path)} must validate all the schemas (allOf){why}"))


def _best(tried: list[_Result]) -> _Result:
    return max(tried, key=lambda one: one.passed)


def _root_cause(text: str) -> Cause:
    return invalid_value(ROOT, "", text)


def quoted(text: str) -> str:
    """A text in double quotes, as Go's %q prints it."""
    return show(text)


def show(value: Any) -> str:
    """JSON, as compact as Go's."""
    import json

    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
