"""Protobuf bytes to object trees, by the table of field numbers.

Lenient as the format is: unknown fields are skipped, repeated numbers may be packed or not. What is
cut short, nests too deep or has a wrong wire type raises `Fault`, worded as upstream's decoder.

https://protobuf.dev/programming-guides/encoding/
"""

import base64
import struct
from collections.abc import Callable
from typing import Any

import orjson

from sampan.meta import timestamps
from sampan.meta.wire import protobuf_table
from sampan.meta.wire.protobuf_table import Field, Message

MAX_DEPTH = 100
MAGIC = b"k8s\x00"

_META = protobuf_table.META
_UNTIL_YEAR_10000 = 253402300800
_FROM_YEAR_1 = -62135596800


class Fault(ValueError):
    """The bytes are no such message."""


def read(data: bytes, message: Message, depth: int = 0) -> dict[str, Any]:
    """The message's fields as JSON has them."""
    if depth > MAX_DEPTH:
        raise Fault("proto: exceeded maximum recursion depth")
    tree: dict[str, Any] = {}
    by_number = message.by_number
    position, end = 0, len(data)
    while position < end:
        tag, position = varint(data, position)
        wire = tag & 7
        value, position = _raw(data, position, wire)
        if tag < 8:
            raise Fault(f"proto: illegal tag {tag >> 3} (wire type {wire})")
        field = by_number.get(tag >> 3)
        if field is not None:
            _store(tree, field, (wire, value), depth)
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
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift >= 64:
            raise Fault("proto: integer overflow")


def _raw(data: bytes, position: int, wire: int) -> tuple[Any, int]:
    if wire == 0:
        return varint(data, position)
    if wire == 2:
        length, position = varint(data, position)
    elif wire in (1, 5):
        length = 8 if wire == 1 else 4
    else:
        raise Fault(f"proto: illegal wireType {wire}")
    if position + length > len(data):
        raise Fault("unexpected EOF")
    return data[position : position + length], position + length


def _store(tree: dict[str, Any], field: Field, found: tuple[int, Any], depth: int) -> None:
    if field.is_map:
        key, value = _entry(_bytes(found, field), field, depth)
        if value is not None:
            tree.setdefault(field.name, {})[key] = value
    elif field.inline:
        tree.update(read(_bytes(found, field), protobuf_table.message(field.kind), depth + 1))
    elif field.repeated:
        values = tree.setdefault(field.name, [])
        if found[0] == 2 and field.kind in _VARINTS:
            values.extend(_unpack(found[1], field))
        else:
            values.append(_value(found, field, depth))
    else:
        value = _value(found, field, depth)
        if value is not None and (value or not field.zero_is_absent):
            tree[field.name] = value


def _entry(data: bytes, field: Field, depth: int) -> tuple[str, Any]:
    key, value = "", None
    position = 0
    while position < len(data):
        tag, position = varint(data, position)
        found, position = _raw(data, position, tag & 7)
        if tag >> 3 == 1:
            key = _text(_bytes((tag & 7, found), field))
        elif tag >> 3 == 2:
            value = _value((tag & 7, found), field, depth)
    return key, _empty(field, depth) if value is None else value


def _empty(field: Field, depth: int) -> Any:
    """A map's value that was left out, as some encoders do with zero values."""
    return False if field.kind == "bool" else 0 if field.kind in _VARINTS else _value((2, b""), field, depth)


def _unpack(data: bytes, field: Field) -> list[Any]:
    values = []
    position = 0
    while position < len(data):
        number, position = varint(data, position)
        values.append(_VARINTS[field.kind](number))
    return values


def _value(found: tuple[int, Any], field: Field, depth: int) -> Any:
    wire, value = found
    kind = field.kind
    as_number = _VARINTS.get(kind)
    if as_number is not None:
        if wire != 0:
            raise Fault(f"proto: wrong wireType = {wire} for field {_go_name(field)}")
        return as_number(value)
    if kind == "double":
        if wire != 1:
            raise Fault(f"proto: wrong wireType = {wire} for field {_go_name(field)}")
        return struct.unpack("<d", value)[0]
    data = _bytes(found, field)
    if kind == "string":
        return _text(data)
    if kind == "bytes":
        return base64.b64encode(data).decode()
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(data, depth + 1)
    return read(data, protobuf_table.message(kind), depth + 1)


def _bytes(found: tuple[int, Any], field: Field) -> bytes:
    wire, value = found
    if wire != 2:
        raise Fault(f"proto: wrong wireType = {wire} for field {_go_name(field)}")
    return bytes(value)


def _go_name(field: Field) -> str:
    return field.name[:1].upper() + field.name[1:]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Fault("proto: field contains invalid UTF-8") from None


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 0x100000000 if value >= 0x80000000 else value


def _int64(value: int) -> int:
    return value - 0x10000000000000000 if value >= 0x8000000000000000 else value


_VARINTS: dict[str, Callable[[int], Any]] = {"bool": bool, "int32": _int32, "int64": _int64}


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
