"""What is kept of a tree, by its schema: one quick pass with functions that are compiled for each type when first needed.

A tree in its kept form is returned as it is. What means nothing (nulls, and the empty lists and zeros that Go's
`omitempty` leaves out) is dropped and quantities are made canonical on the way. Everything else (an unknown field, a
wrong type) is `Unfit`, and for the telling pass in `fields`, which knows how to word it.

https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import binascii
import operator
import re
from collections.abc import Callable
from typing import Any

from sampan.kit.texts import Texts
from sampan.meta import quantity, timestamps
from sampan.meta.schema import MILLI, Type
from sampan.meta.wire import protobuf_table

Tree = Any
Keep = Callable[[Any], Any]


class Unfit(Exception):
    """The value is not in a form that could be kept."""


def keep(tree: Tree, kind: Type, known: Tree = None) -> Tree:
    """The tree as its type keeps it: itself, or a new one that shares what is kept as it was. Raises Unfit.

    `known` is a tree of this type in its kept form. Parts that both trees share are not looked at again.
    """
    return keeper(kind)(tree) if known is None else _beside(tree, known, kind)


def keeper(kind: Type) -> Keep:
    """The function that keeps values of this type."""
    made: Keep | None = kind.keeper
    if made is None:
        made = kind.keeper = _MAKERS.get(kind.kind, _scalar_keeper)(kind)
    return made


def is_dropped(kind: Type, key: str, item: Any) -> bool:
    """Whether an empty, zero or null value in this field is the same as none."""
    if item is None:
        field = kind.fields[key]
        if field.kind != "any" and not field.nullable:
            return True
    return is_nothing(kind, key, item)


def is_nothing(kind: Type, key: str, item: Any) -> bool:
    """Whether an empty or zero value in this field is the same as none."""
    if item.__class__ in _CONTAINERS:
        return item.__class__ is _EMPTY.get(kind.fields[key].kind) and drops_empty(kind, key)
    zero = ZEROS.get(kind.fields[key].kind)
    return item == zero and item.__class__ is zero.__class__ and key in protobuf_table.plain_fields(kind.name)


def drops_empty(kind: Type, key: str) -> bool:
    """Whether an empty list or map in this field is the same as none: so it is in built-in types, unless required."""
    if not kind.name or key in kind.required or kind.fields[key].kind not in ("array", "map"):
        return False
    return (kind.struct, key) not in _KEPT_EMPTY


_CONTAINERS = (list, dict)
_EMPTY = {"array": list, "map": dict}
ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0"}
# Lists that mean something when they are empty.
_KEPT_EMPTY = frozenset({("EndpointSlice", "ports"), ("EndpointSlice", "endpoints"), ("PodList", "items")})


def _beside(value: Any, known: Any, kind: Type) -> Any:
    if value is known:
        return value
    if kind.kind == "object" and isinstance(value, dict) and isinstance(known, dict):
        return _object_beside(value, known, kind)
    if kind.kind == "array" and isinstance(value, list) and isinstance(known, list):
        shared, keep_item = set(map(id, known)), keeper(kind.items)
        kept = [item if id(item) in shared else keep_item(item) for item in value]
        return value if all(map(operator.is_, kept, value)) else kept
    return keeper(kind)(value)


def _object_beside(value: Tree, known: Tree, kind: Type) -> Tree:
    fields, made = kind.fields, None
    for key, item in value.items():
        before = known.get(key)
        if before is item and item is not None:
            continue
        field = fields.get(key)
        if field is None:
            if kind.preserve_unknown:
                continue
            raise Unfit
        if item or not is_dropped(kind, key, item):
            kept = _beside(item, before, field) if before.__class__ in _CONTAINERS else keeper(field)(item)
            if kept is item:
                continue
            made = dict(value) if made is None else made
            made[key] = kept
        else:
            made = dict(value) if made is None else made
            del made[key]
    return value if made is None else made


def _object_keeper(kind: Type) -> Keep:
    fields = kind.fields
    wants: dict[str, Any] = {}
    plain = protobuf_table.plain_fields(kind.name)

    def keep(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unfit
        made = None
        for key, item in value.items():
            want = wants.get(key)
            if want is item.__class__ and (item or key not in plain):
                continue
            if want is None:
                if key not in fields:
                    if kind.preserve_unknown:
                        continue
                    raise Unfit
                want = wants[key] = _want(fields[key])
            if item or not is_dropped(kind, key, item):
                if want in _CLASSES:
                    if item.__class__ is not want:
                        raise Unfit
                    continue
                kept = want(item)
                if kept is item:
                    continue
                made = dict(value) if made is None else made
                made[key] = kept
            else:
                made = dict(value) if made is None else made
                del made[key]
        return value if made is None else made

    return keep


def _array_keeper(kind: Type) -> Keep:
    want: Any = None

    def keep(value: Any) -> Any:
        nonlocal want
        if not isinstance(value, list):
            raise Unfit
        if want is None:
            want = _want(kind.items)
        if want in _CLASSES:
            for item in value:
                if item.__class__ is not want:
                    raise Unfit
            return value
        made = None
        for index, item in enumerate(value):
            kept = want(item)
            if kept is not item:
                made = list(value) if made is None else made
                made[index] = kept
        return value if made is None else made

    return keep


def _map_keeper(kind: Type) -> Keep:
    want: Any = None

    def keep(value: Any) -> Any:
        nonlocal want
        if not isinstance(value, dict):
            raise Unfit
        if want is None:
            want = _want(kind.items)
        if want in _CLASSES:
            for item in value.values():
                if item.__class__ is not want:
                    raise Unfit
            return value
        made = None
        for key, item in value.items():
            kept = want(item)
            if kept is not item:
                made = dict(value) if made is None else made
                made[key] = kept
        return value if made is None else made

    return keep


_CLASSES: frozenset[Any] = frozenset({str, bool})


def _want(kind: Type) -> Any:
    """str or bool where the class says it all, else the type's keeper."""
    if kind.nullable:
        return keeper(kind)
    if kind.kind == "boolean":
        return bool
    return str if kind.kind == "string" and kind.format != "byte" else keeper(kind)


def _scalar_keeper(kind: Type) -> Keep:
    if kind.kind == "quantity":
        return _quantity_keeper(_AMOUNTS if kind.format == MILLI else _QUANTITIES)
    is_fit = _SCALARS.get((kind.kind, kind.format)) or _SCALARS.get((kind.kind, ""), _is_anything)
    is_nullable = kind.nullable

    def keep(value: Any) -> Any:
        if is_fit(value) or (value is None and is_nullable):
            return value
        raise Unfit

    return keep


def _is_anything(value: Any) -> bool:
    return True


def _is_string(value: Any) -> bool:
    return value.__class__ is str


def _is_boolean(value: Any) -> bool:
    return value.__class__ is bool


def _is_int32(value: Any) -> bool:
    return value.__class__ is int and -2147483648 <= value <= 2147483647


def _is_int64(value: Any) -> bool:
    return value.__class__ is int and -9223372036854775808 <= value <= 9223372036854775807


def _is_number(value: Any) -> bool:
    return value.__class__ is float or value.__class__ is int


def _is_int_or_string(value: Any) -> bool:
    return value.__class__ is str or _is_int32(value)


def _is_bytes(value: Any) -> bool:
    return value.__class__ is str and base64_fault(value) is None


def _time_keeper(kind: Type) -> Keep:
    """In the form in which the API writes times: UTC, whole seconds, or six digits in a MicroTime."""
    length = len(_FORMS[kind.struct == "MicroTime"])

    def keep(value: Any) -> Any:
        if value.__class__ is str and len(value) == length and value[10] == "T" and value[-1] == "Z":  # noqa: SIM102
            if is_moment(value):
                return value
        raise Unfit

    return keep


_FORMS = ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05.000000Z")


def _is_moment(text: str) -> bool:
    try:
        timestamps.parse(text)
    except (ValueError, OverflowError):
        return False
    return True


is_moment = Texts(_is_moment, 256).__getitem__
"""Whether the text is a time that there is."""


def _quantity_keeper(known: Texts[str, str]) -> Keep:
    def keep(value: Any) -> Any:
        if value.__class__ is not str:
            raise Unfit
        kept = known[value]
        return value if kept == value else kept

    return keep


def _canonical(text: str) -> str:
    if quantity.validate(text) is not None:
        raise Unfit
    return quantity.canonical(text)


def _canonical_milli(text: str) -> str:
    if quantity.validate(text) is not None:
        raise Unfit
    return quantity.canonical_milli(text)


_QUANTITIES = Texts(_canonical, 1024)
_AMOUNTS = Texts(_canonical_milli, 1024)


_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def base64_fault(text: str) -> int | None:
    """The index of the first byte that standard base64 does not allow, as Go reports it; None when all is well."""
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        bare = text.replace("\n", "").replace("\r", "")
        if bare != text and base64_fault(bare) is None:
            return None
        found = _BASE64.match(bare)
        end = found.end() if found else 0
        return end if end < len(bare) else len(bare) - len(bare) % 4
    return None


_MAKERS: dict[str, Callable[[Type], Keep]] = {
    "object": _object_keeper,
    "array": _array_keeper,
    "map": _map_keeper,
    "time": _time_keeper,
}
_SCALARS: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("string", ""): _is_string,
    ("string", "byte"): _is_bytes,
    ("boolean", ""): _is_boolean,
    ("integer", ""): _is_int64,
    ("integer", "int32"): _is_int32,
    ("number", ""): _is_number,
    ("int-or-string", ""): _is_int_or_string,
}
