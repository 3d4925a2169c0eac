"""Whether a value fits its schema: one quick pass of compiled checks that only says yes or no.

Nearly every object fits, so that the telling pass (schema_validation) runs for those that do not. Both must
agree; what is rare in schemas (several schemas at once) is left to the telling pass altogether.
"""

from collections.abc import Callable
from typing import Any

from sampan.cel import patience
from sampan.kinds.apiextensions import regex, schema_validation

Node = dict[str, Any]
Check = Callable[[Any], bool]

_ODD_JUNCTIONS = ("oneOf", "allOf", "not")
_TELLING_COST = 3
_NUMBER_RULES = ("maximum", "minimum", "multipleOf", "format", "enum")


def checker(node: Node) -> Check:
    """The check of a schema."""
    if node.get("x-kubernetes-int-or-string") or any(node.get(name) for name in _ODD_JUNCTIONS):
        return _telling(node)
    if node.get("anyOf"):
        return _telling(node) if node.get("nullable") else _any_of(node)
    made = _MAKERS.get(node.get("type") or "", _any)(node)
    if node.get("nullable"):
        return lambda value: value is None or made(value)
    return made


def _telling(node: Node) -> Check:
    cost = _TELLING_COST + len(node.get("enum") or ())

    def check(value: Any) -> bool:
        patience.spend(cost)
        return not schema_validation.validate(value, node, path="x")

    return check


def _any_of(node: Node) -> Check:
    whole = checker({name: rule for name, rule in node.items() if name != "anyOf"})
    choices = [checker(choice) for choice in node["anyOf"]]

    def check(value: Any) -> bool:
        patience.spend(len(choices))
        return whole(value) and any(choice(value) for choice in choices)

    return check


def _any(node: Node) -> Check:
    """A value of no type: whatever rules there are, by what it is."""
    ruled = set(node) - {"x-kubernetes-preserve-unknown-fields", "description", "title", "default", "example"}
    if ruled == {"required"}:
        needed = frozenset(node["required"] or ())
        return lambda value: value.__class__ is not dict or needed <= value.keys()
    return _telling(node) if ruled else (lambda value: True)


def _string(node: Node) -> Check:
    if node.get("enum"):
        allowed = {choice for choice in node["enum"] if choice.__class__ is str}
        telling = _telling({**node, "enum": None})
        return lambda value: value.__class__ is str and value in allowed and telling(value)
    if node.get("format"):
        return _telling(node)
    longest, shortest, pattern = node.get("maxLength"), node.get("minLength") or 0, node.get("pattern")
    if longest is None and not shortest and not pattern:
        return lambda value: value.__class__ is str
    most = float("inf") if longest is None else longest
    if not pattern:
        return lambda value: value.__class__ is str and shortest <= len(value) <= most
    return lambda value: value.__class__ is str and shortest <= len(value) <= most and regex.matches(pattern, value)


def _boolean(node: Node) -> Check:
    return _telling(node) if node.get("enum") else (lambda value: value is True or value is False)


def _integer(node: Node) -> Check:
    """A plain whole number within bounds; anything odder is for the telling pass."""
    telling = _telling(node)
    if node.get("enum") or node.get("multipleOf"):
        return telling
    low, high = node.get("minimum"), node.get("maximum")
    bits = 31 if node.get("format") == "int32" else 63
    least = max(-(2**bits), -(2**bits) if low is None else low + bool(node.get("exclusiveMinimum")))
    most = min(2**bits - 1, 2**bits - 1 if high is None else high - bool(node.get("exclusiveMaximum")))
    return lambda value: (value.__class__ is int and least <= value <= most) or telling(value)


def _number(node: Node) -> Check:
    if any(node.get(name) is not None for name in _NUMBER_RULES):
        return _telling(node)
    return lambda value: value.__class__ is float or value.__class__ is int


def _array(node: Node) -> Check:
    if node.get("enum"):
        return _telling(node)
    fewest, most = node.get("minItems") or 0, node.get("maxItems")
    items = node.get("items")
    item = checker(items) if isinstance(items, dict) else None

    def check(value: Any) -> bool:
        if value.__class__ is not list or len(value) < fewest or (most is not None and len(value) > most):
            return False
        return item is None or all(map(item, value))

    return check


def _object(node: Node) -> Check:
    if node.get("enum"):
        return _telling(node)
    fields = {name: checker(below) for name, below in (node.get("properties") or {}).items()}
    others = node.get("additionalProperties")
    other = checker(others) if isinstance(others, dict) else None
    needed = tuple(node.get("required") or ())
    fewest, most = node.get("minProperties") or 0, node.get("maxProperties")

    def check(value: Any) -> bool:
        if value.__class__ is not dict or len(value) < fewest or (most is not None and len(value) > most):
            return False
        for name in needed:
            if name not in value:
                return False
        for name, item in value.items():
            field = fields.get(name)
            if field is not None:
                if not field(item):
                    return False
            elif other is not None:
                if not other(item):
                    return False
            elif others is False:
                return False
        return True

    return check


_MAKERS: dict[str, Callable[[Node], Check]] = {
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "array": _array,
    "object": _object,
}
