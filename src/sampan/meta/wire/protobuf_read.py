"""Protobuf bytes to object trees, by the table of field numbers.

Lenient as the format is: unknown fields are skipped, repeated numbers may be packed or not. What is
cut short, nests too deep or has a wrong wire type raises `Fault`, worded as upstream's decoder.

https://protobuf.dev/programming-guides/encoding/
"""

import base64
import functools
import struct
from collections.abc import Callable
from typing import Any

import orjson

from sampan.meta import timestamps
from sampan.meta.wire import protobuf_table
from sampan.meta.wire.protobuf_table import Field, Message

MAX_DEPTH = 100
MAGIC = b"k8s\x00"

Tree = dict[str, Any]
Step = Callable[[Tree, bytes, int, int], int]
"""Reads one field's value at a position into the tree, at a depth; answers the position after it."""

_META = protobuf_table.META
_ONE_BYTE = 0x80
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_UNTIL_YEAR_10000 = 253402300800
_FROM_YEAR_1 = -62135596800


class Fault(ValueError):
    """The bytes are no such message."""


def read(data: bytes, message: Message, depth: int = 0) -> Tree:
    """The message's fields as JSON has them."""
    if depth > MAX_DEPTH:
        raise Fault("proto: exceeded maximum recursion depth")
    tree: Tree = {}
    steps = _steps(message.name)
    position, end = 0, len(data)
    while position < end:
        tag = data[position]
        if tag < _ONE_BYTE:
            position += 1
        else:
            tag, position = varint(data, position)
        step = steps.get(tag)
        position = step(tree, data, position, depth) if step else _other(message, tag, data, position)
    return tree


def varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length number and the position after it."""
    result = shift = 0
    while True:
        try:
            byte = data[position]
        except IndexError:
            raise Fault("unexpected EOF") from None
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < _ONE_BYTE:
            return result & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift >= 64:
            raise Fault("proto: integer overflow")


def _span(data: bytes, position: int) -> tuple[int, int]:
    """Where bytes that have their length before them begin and end."""
    try:
        length = data[position]
    except IndexError:
        raise Fault("unexpected EOF") from None
    if length < _ONE_BYTE:
        position += 1
    else:
        length, position = varint(data, position)
    end = position + length
    if end > len(data):
        raise Fault("unexpected EOF")
    return position, end


def _after(data: bytes, position: int, wire: int) -> int:
    """The position after a value that nobody wants."""
    if wire == _VARINT:
        return varint(data, position)[1]
    if wire == _BYTES:
        return _span(data, position)[1]
    if wire not in (_FIXED64, _FIXED32):
        raise Fault(f"proto: illegal wireType {wire}")
    position += 8 if wire == _FIXED64 else 4
    if position > len(data):
        raise Fault("unexpected EOF")
    return position


def _other(message: Message, tag: int, data: bytes, position: int) -> int:
    """Skips a field that this table does not know. Fault for one that it knows in another form."""
    number, wire = tag >> 3, tag & 7
    position = _after(data, position, wire)
    if number == 0:
        raise Fault(f"proto: illegal tag {number} (wire type {wire})")
    field = message.by_number.get(number)
    if field is not None:
        raise Fault(f"proto: wrong wireType = {wire} for field {field.name[:1].upper()}{field.name[1:]}")
    return position


# What is done with each field, made once for a message.


@functools.cache
def _steps(message_name: str) -> dict[int, Step]:
    """By tag: a field's number and wire type."""
    steps: dict[int, Step] = {}
    for field in protobuf_table.message(message_name).fields:
        number = field.number << 3
        if field.is_map:
            steps[number | _BYTES] = _map_step(field)
        elif field.kind in _VARINTS:
            steps[number | _VARINT] = _number_step(field)
            if field.repeated:
                steps[number | _BYTES] = _packed_step(field)
        elif field.kind == "double":
            steps[number | _FIXED64] = _double_step(field)
        else:
            steps[number | _BYTES] = _inline_step(field) if field.inline else _bytes_step(field)
    return steps


def _number_step(field: Field) -> Step:
    name, convert = field.name, _VARINTS[field.kind]

    def step(tree: Tree, data: bytes, position: int, _depth: int) -> int:
        number, position = varint(data, position)
        value = convert(number)
        if field.repeated:
            tree.setdefault(name, []).append(value)
        elif value or not field.zero_is_absent:
            tree[name] = value
        return position

    return step


def _packed_step(field: Field) -> Step:
    convert = _VARINTS[field.kind]

    def step(tree: Tree, data: bytes, position: int, _depth: int) -> int:
        position, end = _span(data, position)
        values = tree.setdefault(field.name, [])
        packed = data[position:end]
        at = 0
        while at < len(packed):
            number, at = varint(packed, at)
            values.append(convert(number))
        return end

    return step


def _double_step(field: Field) -> Step:
    def step(tree: Tree, data: bytes, position: int, _depth: int) -> int:
        end = _after(data, position, _FIXED64)
        tree[field.name] = struct.unpack("<d", data[position:end])[0]
        return end

    return step


def _inline_step(field: Field) -> Step:
    message = protobuf_table.message(field.kind)

    def step(tree: Tree, data: bytes, position: int, depth: int) -> int:
        position, end = _span(data, position)
        tree.update(read(data[position:end], message, depth + 1))
        return end

    return step


def _bytes_step(field: Field) -> Step:
    name, convert = field.name, _converter(field.kind)
    keeps_zero = not field.zero_is_absent

    def step(tree: Tree, data: bytes, position: int, depth: int) -> int:
        position, end = _span(data, position)
        value = convert(data[position:end], depth + 1)
        if value is not None and (value or keeps_zero):
            tree[name] = value
        return end

    def add(tree: Tree, data: bytes, position: int, depth: int) -> int:
        position, end = _span(data, position)
        tree.setdefault(name, []).append(convert(data[position:end], depth + 1))
        return end

    return add if field.repeated else step


def _map_step(field: Field) -> Step:
    values = _steps_of_value(field.kind)
    missing = _ZEROS.get(field.kind)

    def step(tree: Tree, data: bytes, position: int, depth: int) -> int:
        position, end = _span(data, position)
        entry: Tree = {}
        inner, at = data[position:end], 0
        while at < len(inner):
            tag, at = varint(inner, at)
            found = values.get(tag)
            at = found(entry, inner, at, depth) if found else _after(inner, at, tag & 7)
        value = entry.get("value", missing)
        if value is None and "value" not in entry:
            value = _converter(field.kind)(b"", depth + 1)
        if value is not None:
            tree.setdefault(field.name, {})[entry.get("key", "")] = value
        return end

    return step


def _steps_of_value(kind: str) -> dict[int, Step]:
    """A map's entry is a message of a key, 1, and a value, 2."""
    value = Field(2, "value", kind)
    steps = {1 << 3 | _BYTES: _bytes_step(Field(1, "key", "string"))}
    if kind in _VARINTS:
        steps[2 << 3 | _VARINT] = _number_step(value)
    else:
        steps[2 << 3 | _BYTES] = _bytes_step(value)
    return steps


def _converter(kind: str) -> Callable[[bytes, int], Any]:
    """What a field's bytes become, at a depth."""
    plain = _PLAIN.get(kind) or _SPECIAL.get(kind)
    if plain is not None:
        return plain
    message = protobuf_table.message(kind)
    return lambda data, depth: read(data, message, depth) if data else {}


def _text(data: bytes, _depth: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Fault("proto: field contains invalid UTF-8") from None


def _base64(data: bytes, _depth: int) -> str:
    return base64.b64encode(data).decode()


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 0x100000000 if value >= 0x80000000 else value


def _int64(value: int) -> int:
    return value - 0x10000000000000000 if value >= 0x8000000000000000 else value


_VARINTS: dict[str, Callable[[int], Any]] = {"bool": bool, "int32": _int32, "int64": _int64}
_ZEROS: dict[str, Any] = {"bool": False, "int32": 0, "int64": 0}
_PLAIN: dict[str, Callable[[bytes, int], Any]] = {"string": _text, "bytes": _base64}


# Messages whose JSON is not an object of their fields.


def _own(data: bytes, name: str, depth: int) -> dict[str, Any]:
    return read(data, protobuf_table.message(name), depth)


def _quantity(data: bytes, depth: int) -> str:
    text: str = _own(data, _QUANTITY, depth).get("string", "")
    return text or "0"


def _int_or_string(data: bytes, depth: int) -> int | str:
    fields = _own(data, _INT_OR_STRING, depth)
    found: int | str = fields.get("strVal", "") if fields.get("type") == 1 else fields.get("intVal", 0)
    return found


def _seconds(data: bytes, depth: int) -> tuple[int, int] | None:
    fields = _own(data, _META + "Time", depth)
    seconds, nanos = fields.get("seconds", 0), fields.get("nanos", 0)
    if not data or seconds == _FROM_YEAR_1:
        return None
    if not _FROM_YEAR_1 < seconds < _UNTIL_YEAR_10000 or not 0 <= nanos < 1_000_000_000:
        raise Fault("Time.MarshalJSON: year outside of range [0,9999]")
    return seconds, nanos


def _time(data: bytes, depth: int) -> str | None:
    found = _seconds(data, depth)
    return timestamps.format(float(found[0])) if found else None


def _micro_time(data: bytes, depth: int) -> str | None:
    found = _seconds(data, depth)
    if not found:
        return None
    whole = timestamps.format(float(found[0])).removesuffix("Z")
    return f"{whole}.{found[1] // 1000:06d}Z"


def _json(data: bytes) -> Any:
    if not data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Fault("proto: embedded value is not JSON") from None


def _fields_v1(data: bytes, depth: int) -> Any:
    return _json(_own_bytes(data, depth))


def _raw_extension(data: bytes, depth: int) -> Any:
    raw = _own_bytes(data, depth)
    return read_envelope(raw, None, depth) if raw.startswith(MAGIC) else _json(raw)


def _own_bytes(data: bytes, depth: int) -> bytes:
    return base64.b64decode(_own(data, _META + "FieldsV1", depth).get("raw", ""))


def _wrapped_list(data: bytes, depth: int) -> list[Any]:
    return list(_own(data, _META + "Verbs", depth).get("items", ()))


def _schema_or_bool(data: bytes, depth: int) -> Any:
    fields = _own(data, _CRD + "JSONSchemaPropsOrBool", depth)
    return fields.get("schema", fields.get("allows", False))


def _schema_or_array(data: bytes, depth: int) -> Any:
    fields = _own(data, _CRD + "JSONSchemaPropsOrArray", depth)
    return fields.get("jSONSchemas", fields.get("schema"))


def _schema_or_strings(data: bytes, depth: int) -> Any:
    fields = _own(data, _CRD + "JSONSchemaPropsOrStringArray", depth)
    return fields.get("property", fields.get("schema"))


_QUANTITY = "k8s.io.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "k8s.io.apimachinery.pkg.util.intstr.IntOrString"
_CRD = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."
_SPECIAL: dict[str, Callable[[bytes, int], Any]] = {
    _QUANTITY: _quantity,
    _INT_OR_STRING: _int_or_string,
    _META + "Time": _time,
    _META + "MicroTime": _micro_time,
    _META + "FieldsV1": _fields_v1,
    _META + "Verbs": _wrapped_list,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw_extension,
    "k8s.io.api.authentication.v1.ExtraValue": _wrapped_list,
    "k8s.io.api.authorization.v1.ExtraValue": _wrapped_list,
    "k8s.io.api.certificates.v1.ExtraValue": _wrapped_list,
    _CRD + "JSON": _fields_v1,
    _CRD + "JSONSchemaPropsOrBool": _schema_or_bool,
    _CRD + "JSONSchemaPropsOrArray": _schema_or_array,
    _CRD + "JSONSchemaPropsOrStringArray": _schema_or_strings,
}


# The envelope around a whole object.


def read_envelope(data: bytes, message_name: str | None, depth: int = 0) -> dict[str, Any]:
    """The object inside runtime.Unknown, with its apiVersion and kind. Fault, also when its kind is unknown."""
    if not data.startswith(MAGIC):
        expected = " ".join(str(byte) for byte in MAGIC)
        raise Fault(f"provided data does not appear to be a protobuf message, expected prefix [{expected}]")
    envelope = read(data[len(MAGIC) :], protobuf_table.message("k8s.io.apimachinery.pkg.runtime.Unknown"), depth + 1)
    given = envelope.get("typeMeta", {})
    api_version, kind = given.get("apiVersion", ""), given.get("kind", "")
    group, _, version = api_version.rpartition("/")
    name = message_name or protobuf_table.message_for(group, version, kind)
    if name is None:
        raise Fault(f'no kind "{kind}" is registered for version "{api_version}"')
    raw = base64.b64decode(envelope.get("raw", ""))
    tree = {"apiVersion": api_version, "kind": kind} if kind else {}
    try:
        return tree | read(raw, protobuf_table.message(name), depth + 1)
    except Fault as fault:
        if depth:
            raise
        raise Fault(f'{kind} in version "{version}" cannot be handled as a {kind}: {fault}') from None
