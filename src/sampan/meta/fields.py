"""Does a tree fit its schema? Unknown fields, wrong types and non-canonical values, as upstream's decoder sees them.

`conform` is what a decoder does with a request body: it refuses wrong types (400), drops and names
unknown fields, drops nulls, empty lists and zeros that mean nothing (Go's `omitempty`), and writes quantities in
canonical form. Most bodies pass `keeping`, which is quick; only for the others does the slow, telling pass run.

https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from sampan.meta import go_text, keeping, quantity, status, timestamps
from sampan.meta.schema import MILLI, Type

Tree = Any


def conform(tree: Tree, kind: Type, *, applied: bool = False, known: Tree = None) -> tuple[Tree, list[str]]:
    """The tree as its type keeps it, and `unknown field "spec.foo"` for each field it does not know.

    The tree itself is returned when nothing had to change. Raises `Mismatch` for a value of a wrong type. A
    configuration that is `applied` says something with an empty or zero value too: it takes a field from others.
    `known` is an object in its kept form, such as the stored one: what the tree shares with it is as it should be.
    """
    try:
        kept = keeping.keep(tree, kind, known)
    except keeping.Unfit:
        kept = None
    if kept is tree or (kept is not None and not applied):
        return kept, []
    unknown: dict[str, None] = {}
    made = _conform(tree, kind, _Place(unknown, applied))
    return made, [f'unknown field "{path}"' for path in unknown]


def dense(tree: Tree, kind: Type, known: Tree = None) -> Tree:
    """A built-in object without the empty and zero values that mean nothing: the same one when it has none.

    For `known` see `conform`.
    """
    try:
        return keeping.keep(tree, kind, known)
    except keeping.Unfit:
        return _dense(tree, kind)


def _dense(tree: Tree, kind: Type) -> Tree:
    if kind.kind == "object" and isinstance(tree, dict):
        known = kind.fields
        return {
            key: _dense(item, known[key]) if key in known else item
            for key, item in tree.items()
            if item or key not in known or not keeping.is_nothing(kind, key, item)
        }
    if kind.kind == "array" and isinstance(tree, list):
        return [_dense(item, kind.items) for item in tree]
    if kind.kind == "map" and isinstance(tree, dict):
        return {key: _dense(item, kind.items) for key, item in tree.items()}
    return tree


def check(tree: Tree, kind: Type) -> list[str]:
    """`unknown field "spec.containers[0].foo"` for each unknown field, in document order."""
    return conform(tree, kind)[1]


def prune(tree: Tree, kind: Type) -> Tree:
    """The tree without unknown fields."""
    return conform(tree, kind)[0]


class Mismatch(ValueError):
    """A value of a type that its field cannot hold; the text is Go's decoder's, `unfit` what its converter would say."""

    def __init__(self, text: str, unfit: str = "") -> None:
        super().__init__(text)
        self.unfit = unfit or text


class Undecodable(status.ApiError):
    """The 400 for a body that its type cannot hold; `why` is told otherwise of a patch."""

    def __init__(self, why: Mismatch, kind: str, version: str) -> None:
        text = f'{kind} in version "{version}" cannot be handled as a {kind}: {why}'
        super().__init__(status.bad_request(text).status)
        self.why = why


def mismatch_error(error: Mismatch, kind: str, version: str) -> Undecodable:
    """The 400 for it; `version` is the bare version, v1."""
    return Undecodable(error, kind, version)


def strict_error(texts: Iterable[str], kind: str, version: str) -> Undecodable:
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
        text = f"json: cannot unmarshal {go_value(value, go_type)} into {where} of type {go_type}"
        return Mismatch(text, go_text.unfit(value, go_type) if self.struct else text)


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
    try:
        return keeping.keep(value, kind)
    except keeping.Unfit:
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
            item or place.applied or not keeping.is_nothing(kind, key, item)
        ):
            made[key] = _conform(item, field, place.at_field(key, kind.struct or "Object"))
    return made


def _element(value: Any, kind: Type, place: _Place) -> Any:
    """An item of a list or map: null there means the zero value."""
    if value is None and kind.kind != "any" and not kind.nullable:
        return {} if kind.kind in ("object", "map") else keeping.ZEROS.get(kind.kind)
    return _conform(value, kind, place)


def _mend(value: Any, kind: Type, place: _Place) -> Any:
    """A scalar not in its kept form: a quantity made canonical, else a refusal."""
    if kind.kind == "quantity" and _is_quantity_like(value):
        text = value.strip(" ") if isinstance(value, str) else repr(value)
        if quantity.validate(text) is not None:
            raise Mismatch(_QUANTITY_REFUSED)
        return quantity.canonical_milli(text) if kind.format == MILLI else quantity.canonical(text)
    if kind.kind == "quantity":
        raise Mismatch(_QUANTITY_REFUSED)
    if kind.kind == "time" and isinstance(value, str):
        return _canonical_time(value, kind)
    if kind.format == "byte" and isinstance(value, str):
        text = f"illegal base64 data at input byte {keeping.base64_fault(value)}"
        raise Mismatch(text, f"error decoding from json: {text}")
    if kind.kind in ("time", "int-or-string"):
        raise _Place({}).refuse(value, "string" if kind.kind == "time" else "int32")
    raise place.refuse(value, go_type(kind))


_RFC3339 = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d([.,]\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


def _canonical_time(text: str, kind: Type) -> str:
    """Another zone becomes UTC, and fractions of a second go, as when Go reads and writes a time.

    A MicroTime must have its six digits.
    """
    dotted, is_micro = text.replace(",", "."), kind.struct == "MicroTime"
    found = _RFC3339.match(text)
    if found is None or not keeping.is_moment(dotted) or (is_micro and len(found[1] or "") != _MICRO_LENGTH):
        raise Mismatch(_time_fault(text, _MICRO_DIGITS if is_micro else ""))
    if is_micro:
        return timestamps.format_micros(timestamps.micros(dotted))
    return timestamps.format(timestamps.parse(dotted))


_MICRO_DIGITS = ".000000"
_MICRO_LENGTH = len(_MICRO_DIGITS)


def _is_quantity_like(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


_QUANTITY_REFUSED = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _time_fault(text: str, digits: str) -> str:
    form = f"2006-01-02T15:04:05{digits}Z07:00"
    second = (r"\d\d", "05"), (r"[.,]\d{6}", digits)
    rest = text
    for pattern, wanted in ((r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
                            (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"),
                            *(second if digits else ((r"\d\d([.,]\d+)?", "05"),)),
                            (r"Z|[+-]\d\d:\d\d", "Z07:00")):  # fmt: skip
        found = re.match(pattern, rest, re.ASCII)
        if found is None:
            return f'parsing time "{text}" as "{form}": cannot parse "{rest}" as "{wanted}"'
        rest = rest[found.end() :]
    return f'parsing time "{text}": extra text: "{rest}"' if rest else f'parsing time "{text}": day out of range'


def go_value(value: Any, wanted: str = "") -> str:
    """What a value is in a JSON text, as Go's decoder names it."""
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
