"""Does a tree fit its schema? Unknown fields, wrong types and non-canonical values, as upstream's decoder sees them.

`conform` is what a decoder does with a request body: it refuses wrong types (400), drops and names
unknown fields, drops nulls, empty lists and zeros that mean nothing (Go's `omitempty`), and writes quantities in
canonical form. Most bodies need none of it, and a compiled check finds that out in one quick pass; only then does the
slow, telling pass run.

https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sampan.meta import quantity, status, timestamps
from sampan.meta.schema import Type
from sampan.meta.wire import protobuf_table

Tree = Any
Check = Callable[[Any], bool]


def conform(tree: Tree, kind: Type, *, applied: bool = False) -> tuple[Tree, list[str]]:
    """The tree as its type keeps it, and `unknown field "spec.foo"` for each field it does not know.

    The tree itself is returned when nothing had to change. Raises `Mismatch` for a value of a wrong type. A
    configuration that is `applied` says something with an empty or zero value too: it takes a field from others.
    """
    if checker(kind)(tree):
        return tree, []
    unknown: dict[str, None] = {}
    made = _conform(tree, kind, _Place(unknown, applied))
    return made, [f'unknown field "{path}"' for path in unknown]


def dense(tree: Tree, kind: Type) -> Tree:
    """A built-in object without the empty and zero values that mean nothing; equal to it when it has none."""
    if kind.kind == "object" and isinstance(tree, dict):
        known = kind.fields
        return {
            key: dense(item, known[key]) if key in known else item
            for key, item in tree.items()
            if item or key not in known or not _is_nothing(kind, key, item)
        }
    if kind.kind == "array" and isinstance(tree, list):
        return [dense(item, kind.items) for item in tree]
    if kind.kind == "map" and isinstance(tree, dict):
        return {key: dense(item, kind.items) for key, item in tree.items()}
    return tree


def check(tree: Tree, kind: Type) -> list[str]:
    """`unknown field "spec.containers[0].foo"` for each unknown field, in document order."""
    return conform(tree, kind)[1]


def prune(tree: Tree, kind: Type) -> Tree:
    """The tree without unknown fields."""
    return conform(tree, kind)[0]


class Mismatch(ValueError):
    """A value of a type that its field cannot hold; the text is Go's decoder's."""


def mismatch_error(error: Mismatch, kind: str, version: str) -> status.ApiError:
    """The 400 for it; `version` is the bare version, v1."""
    return status.bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {error}')


def strict_error(texts: Iterable[str], kind: str, version: str) -> status.ApiError:
    """The 400 of fieldValidation=Strict for unknown and duplicate fields."""
    return mismatch_error(Mismatch("strict decoding error: " + ", ".join(texts)), kind, version)


def in_document_order(tree: Tree, unknown: list[str], duplicates: list[str]) -> list[str]:
    """Unknown and duplicate fields of one JSON body as upstream lists them: in document order.

    `tree` is the body as decode_strict returned it. A field that is unknown is not a duplicate as well.
    """
    if not (unknown and duplicates):
        return unknown or duplicates
    if not duplicates[0].startswith("duplicate field "):
        return duplicates + unknown  # YAML's, which name lines rather than paths.
    wanted = {text.partition('"')[2]: text for text in (*duplicates, *unknown)}
    return [wanted[path] for path in (f'{path}"' for path in _paths(tree, "")) if path in wanted]


def _paths(node: Tree, path: str) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            below = f"{path}.{key}" if path else key
            yield below
            yield from _paths(value, below)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _paths(value, f"{path}[{index}]")


# The quick pass: one closure for each type, made when first needed, that only says whether all is well.


def checker(kind: Type) -> Check:
    """A predicate: the value fits the type and is in the form in which it is kept."""
    made: Check | None = kind.checker
    if made is None:
        made = kind.checker = _MAKERS.get(kind.kind, _scalar_checker)(kind)
    return made


def _object_checker(kind: Type) -> Check:
    fields = kind.fields
    wants: dict[str, Any] = {}
    loose = kind.preserve_unknown
    plain = protobuf_table.plain_fields(kind.name)

    def is_fit(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        for key, item in value.items():
            want = wants.get(key)
            if want is item.__class__ and (item or key not in plain):
                continue
            if want is None:
                if key in fields:
                    want = wants[key] = _want_field(kind, key)
                    if want is item.__class__ and (item or key not in plain):
                        continue
                elif loose:
                    continue
                else:
                    return False
            if want in _CLASSES or not want(item):
                return False
        return True

    return is_fit


def _array_checker(kind: Type) -> Check:
    want: Any = None

    def is_fit(value: Any) -> bool:
        nonlocal want
        if not isinstance(value, list):
            return False
        if want is None:
            want = _want(kind.items)
        if want in _CLASSES:
            return all(item.__class__ is want for item in value)
        return all(want(item) for item in value)

    return is_fit


def _map_checker(kind: Type) -> Check:
    want: Any = None

    def is_fit(value: Any) -> bool:
        nonlocal want
        if not isinstance(value, dict):
            return False
        if want is None:
            want = _want(kind.items)
        if want in _CLASSES:
            return all(item.__class__ is want for item in value.values())
        return all(want(item) for item in value.values())

    return is_fit


_CLASSES: frozenset[Any] = frozenset({str, bool})


def _want_field(kind: Type, key: str) -> Any:
    """Like `_want`; also asks for a list, map or number that is not empty or zero where such a one is not kept."""
    field = kind.fields[key]
    want = _want(field)
    if drops_empty(kind, key) or (key in protobuf_table.plain_fields(kind.name) and want not in _CLASSES):
        plain = checker(field)
        return lambda value: bool(value) and plain(value)
    return want


def drops_empty(kind: Type, key: str) -> bool:
    """Whether an empty list or map in this field is the same as none: so it is in built-in types, unless required."""
    if not kind.name or key in kind.required or kind.fields[key].kind not in ("array", "map"):
        return False
    return (kind.struct, key) not in _KEPT_EMPTY


# Lists that mean something when they are empty.
_KEPT_EMPTY = frozenset({("EndpointSlice", "ports"), ("EndpointSlice", "endpoints"), ("PodList", "items")})


def _want(kind: Type) -> Any:
    """str or bool where the class says it all, else a predicate."""
    if kind.nullable:
        return checker(kind)
    if kind.kind == "boolean":
        return bool
    return str if kind.kind == "string" and kind.format != "byte" else checker(kind)


def _scalar_checker(kind: Type) -> Check:
    plain = _SCALARS.get((kind.kind, kind.format)) or _SCALARS.get((kind.kind, ""), _is_anything)
    if kind.nullable:
        return lambda value: value is None or plain(value)
    return plain


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


def _time_checker(kind: Type) -> Check:
    """In the form in which the API writes times: UTC, whole seconds, or six digits in a MicroTime."""
    length = len(_FORMS[kind.struct == "MicroTime"])
    return lambda value: (
        value.__class__ is str and len(value) == length and value[10] == "T" and value[-1] == "Z" and _is_moment(value)
    )


_FORMS = ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05.000000Z")


def _is_moment(text: str) -> bool:
    try:
        timestamps.parse(text)
    except (ValueError, OverflowError):
        return False
    return True


def _is_bytes(value: Any) -> bool:
    return value.__class__ is str and _base64_fault(value) is None


_known_quantities: set[str] = set()


def _is_quantity(value: Any) -> bool:
    if value.__class__ is not str:
        return False
    if value in _known_quantities:
        return True
    if quantity.validate(value) is not None or quantity.canonical(value) != value:
        return False
    if len(_known_quantities) < 4096:
        _known_quantities.add(value)
    return True


_MAKERS: dict[str, Callable[[Type], Check]] = {
    "object": _object_checker,
    "array": _array_checker,
    "map": _map_checker,
    "time": _time_checker,
}
_SCALARS: dict[tuple[str, str], Check] = {
    ("string", ""): _is_string,
    ("string", "byte"): _is_bytes,
    ("boolean", ""): _is_boolean,
    ("integer", ""): _is_int64,
    ("integer", "int32"): _is_int32,
    ("number", ""): _is_number,
    ("int-or-string", ""): _is_int_or_string,
    ("quantity", ""): _is_quantity,
}


# The telling pass: builds the tree anew, knows where it is, and words its refusals.


class _Place(NamedTuple):
    """Where the walk is: `path` with indices, as unknown fields are named; Go's words in `struct` and `field`."""

    unknown: dict[str, None]
    applied: bool = False
    path: str = ""
    struct: str = ""
    field: str = ""

    def at_field(self, key: str, struct: str) -> "_Place":
        field = f"{self.field}.{key}" if self.field else key
        return _Place(self.unknown, self.applied, f"{self.path}.{key}" if self.path else key, struct, field)

    def at_key(self, key: str) -> "_Place":
        return self._replace(path=f"{self.path}.{key}" if self.path else key)

    def at_index(self, index: int) -> "_Place":
        return self._replace(path=f"{self.path}[{index}]")

    def refuse(self, value: Any, go_type: str) -> Mismatch:
        where = f"Go struct field {self.struct}.{self.field}" if self.struct else "Go value"
        return Mismatch(f"json: cannot unmarshal {_go_value(value, go_type)} into {where} of type {go_type}")


def _conform(value: Any, kind: Type, place: _Place) -> Any:
    if kind.kind == "object":
        return _conform_object(value, kind, place)
    if kind.kind == "array":
        if not isinstance(value, list):
            raise place.refuse(value, go_type(kind))
        return [_element(item, kind.items, place.at_index(index)) for index, item in enumerate(value)]
    if kind.kind == "map":
        if not isinstance(value, dict):
            raise place.refuse(value, go_type(kind))
        return {key: _element(item, kind.items, place.at_key(key)) for key, item in value.items()}
    if checker(kind)(value):
        return value
    return _mend(value, kind, place)


def _conform_object(value: Any, kind: Type, place: _Place) -> Any:
    if not isinstance(value, dict):
        raise place.refuse(value, go_type(kind))
    made = {}
    for key, item in value.items():
        field = kind.fields.get(key)
        if field is None:
            if kind.preserve_unknown:
                made[key] = item
            else:
                place.unknown[place.at_key(key).path] = None
        elif (item is not None or field.nullable or field.kind == "any") and (
            item or place.applied or not _is_nothing(kind, key, item)
        ):
            made[key] = _conform(item, field, place.at_field(key, kind.struct or "Object"))
    return made


def _is_nothing(kind: Type, key: str, item: Any) -> bool:
    """Whether an empty or zero value in this field is the same as none."""
    if item.__class__ in _CONTAINERS:
        return drops_empty(kind, key)
    zero = _ZEROS.get(kind.fields[key].kind)
    return item == zero and item.__class__ is zero.__class__ and key in protobuf_table.plain_fields(kind.name)


_CONTAINERS = (list, dict)
_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0"}


def _element(value: Any, kind: Type, place: _Place) -> Any:
    """An item of a list or map: null there means the zero value."""
    if value is None and kind.kind != "any" and not kind.nullable:
        return {} if kind.kind in ("object", "map") else _ZEROS.get(kind.kind)
    return _conform(value, kind, place)


def _mend(value: Any, kind: Type, place: _Place) -> Any:
    """A scalar not in its kept form: a quantity made canonical, else a refusal."""
    if kind.kind == "quantity" and _is_quantity_like(value):
        text = value if isinstance(value, str) else repr(value)
        if quantity.validate(text) is not None:
            raise Mismatch(_QUANTITY_REFUSED)
        return quantity.canonical(text)
    if kind.kind == "quantity":
        raise Mismatch(_QUANTITY_REFUSED)
    if kind.kind == "time" and isinstance(value, str):
        return _canonical_time(value, kind)
    if kind.format == "byte" and isinstance(value, str):
        raise Mismatch(f"illegal base64 data at input byte {_base64_fault(value)}")
    if kind.kind in ("time", "int-or-string"):
        raise _Place({}).refuse(value, "string" if kind.kind == "time" else "int32")
    raise place.refuse(value, go_type(kind))


_RFC3339 = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d([.,]\d+)?(Z|[+-]\d\d:\d\d)\Z")


def _canonical_time(text: str, kind: Type) -> str:
    """Another zone becomes UTC, and fractions of a second go, as when Go reads and writes a time."""
    dotted = text.replace(",", ".")
    if _RFC3339.match(text) is None or not _is_moment(dotted):
        raise Mismatch(_time_fault(text))
    seconds = timestamps.parse(dotted)
    return timestamps.format_micro(seconds) if kind.struct == "MicroTime" else timestamps.format(seconds)


def _is_quantity_like(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


_QUANTITY_REFUSED = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _time_fault(text: str) -> str:
    form = "2006-01-02T15:04:05Z07:00"
    rest, wanted = text, "2006"
    for pattern, layout in ((r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
                            (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d([.,]\d+)?", "05"),
                            (r"Z|[+-]\d\d:\d\d", "Z07:00")):  # fmt: skip
        wanted = layout
        found = re.match(pattern, rest)
        if found is None:
            return f'parsing time "{text}" as "{form}": cannot parse "{rest}" as "{wanted}"'
        rest = rest[found.end() :]
    return f'parsing time "{text}": extra text: "{rest}"' if rest else f'parsing time "{text}": day out of range'


_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def _base64_fault(text: str) -> int | None:
    """The index of the first byte that standard base64 does not allow, as Go reports it; None when all is well."""
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        bare = text.replace("\n", "").replace("\r", "")
        if bare != text and _base64_fault(bare) is None:
            return None
        found = _BASE64.match(bare)
        end = found.end() if found else 0
        return end if end < len(bare) else len(bare) - len(bare) % 4
    return None


def _go_value(value: Any, wanted: str) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if wanted.startswith(("int", "float")) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


_GO_TYPES = {
    "string": "string",
    "boolean": "bool",
    "number": "float64",
    "time": "v1.Time",
    "int-or-string": "intstr.IntOrString",
    "quantity": "resource.Quantity",
    "any": "interface {}",
}


def go_type(kind: Type) -> str:
    """The type as Go names it: int32, []v1.Container, map[string]string, v1.PodSpec."""
    if kind.kind == "array":
        return f"[]{go_type(kind.items)}"
    if kind.kind == "map":
        return f"map[string]{go_type(kind.items)}"
    if kind.kind == "integer":
        return kind.format or "int64"
    if kind.kind == "object":
        parts = kind.name.split(".")
        return ".".join(parts[-2:]) if len(parts) > 1 else "map[string]interface {}"
    return "[]uint8" if kind.format == "byte" else _GO_TYPES[kind.kind]
