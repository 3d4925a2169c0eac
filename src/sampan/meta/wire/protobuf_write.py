"""Object trees to protobuf bytes, by the table of field numbers.

Fields go out in the order of their numbers; what is absent in the tree is absent on the wire, and
what is there goes out even when zero, so that a reader can tell the difference.

https://protobuf.dev/programming-guides/encoding/
"""

import base64
import functools
import struct
from collections.abc import Callable
from typing import Any

import orjson

from sampan.kit.texts import Texts
from sampan.meta import timestamps
from sampan.meta.wire import json, protobuf_table
from sampan.meta.wire.protobuf_table import Field, Message

Put = Callable[[bytearray, Any], None]

_META = protobuf_table.META
_ONE_BYTE = 0x80
_REMEMBERED = 512  # timestamps and quantities repeat: the same second, the same 100m


def write(tree: dict[str, Any], message: Message) -> bytes:
    """The message's bytes. The tree must fit its schema."""
    out = bytearray()
    for name, put in _plan(message.name):
        value = tree.get(name) if name else tree
        if value is not None:
            put(out, value)
    return bytes(out)


@functools.cache
def _plan(message_name: str) -> tuple[tuple[str, Put], ...]:
    """How each field of a message is written, in the order of numbers; no name where it is an inline one."""
    fields = protobuf_table.message(message_name).fields
    return tuple(("" if field.inline else field.name, _putter(field)) for field in fields)


def _putter(field: Field) -> Put:
    if field.inline:
        return _put_inline(field)
    if field.is_map:
        return _put_map(field)
    return _put_each(_put_one(field.number, field.kind)) if field.repeated else _put_one(field.number, field.kind)


def _put_inline(field: Field) -> Put:
    message = protobuf_table.message(field.kind)
    known = frozenset(name for name, _ in _plan(field.kind))
    nested = "" in known

    def put(out: bytearray, tree: Any) -> None:
        if nested or not known.isdisjoint(tree):
            inner = write(tree, message)
            if inner:
                delimited(out, field.number, inner)

    return put


def _put_map(field: Field) -> Put:
    put_value = _put_one(2, field.kind)

    def put(out: bytearray, entries: Any) -> None:
        for key in sorted(entries):
            entry = bytearray()
            delimited(entry, 1, key.encode())
            if entries[key] is not None:
                put_value(entry, entries[key])
            delimited(out, field.number, bytes(entry))

    return put


def _put_each(put_one: Put) -> Put:
    def put(out: bytearray, values: Any) -> None:
        for value in values:
            put_one(out, value)

    return put


def _put_one(number: int, kind: str) -> Put:
    if kind in ("int32", "int64", "bool"):
        return _put_number(varint(number << 3))
    if kind == "double":
        return _put_double(varint(number << 3 | 1))
    return _put_data(varint(number << 3 | 2), _encoder(kind))


def _put_number(tag: bytes) -> Put:
    def put(out: bytearray, value: Any) -> None:
        number = int(value)
        out.extend(tag)
        if 0 <= number < _ONE_BYTE:
            out.append(number)
        else:
            out.extend(varint(number))

    return put


def _put_double(tag: bytes) -> Put:
    def put(out: bytearray, value: Any) -> None:
        out.extend(tag)
        out.extend(struct.pack("<d", value))

    return put


def _put_data(tag: bytes, encode: Callable[[Any], bytes]) -> Put:
    def put(out: bytearray, value: Any) -> None:
        data = encode(value)
        length = len(data)
        out.extend(tag)
        if length < _ONE_BYTE:
            out.append(length)
        else:
            out.extend(varint(length))
        out.extend(data)

    return put


def _encoder(kind: str) -> Callable[[Any], bytes]:
    if kind == "string":
        return str.encode
    if kind == "bytes":
        return base64.b64decode
    special = _SPECIAL.get(kind)
    return special or functools.partial(write, message=protobuf_table.message(kind))


def varint(value: int) -> bytes:
    """A number in variable length; negative ones as 64-bit two's complement, ten bytes long."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(out: bytearray, number: int, data: bytes) -> None:
    """Appends a field whose length goes before its bytes."""
    out += varint(number << 3 | 2)
    out += varint(len(data))
    out += data


# Messages whose JSON is not an object of their fields.


def _own(name: str, **fields: Any) -> bytes:
    return write(fields, protobuf_table.message(name))


def _quantity(value: Any) -> bytes:
    return _QUANTITIES[str(value)]


_QUANTITIES = Texts(lambda text: _own(_QUANTITY, string=text), _REMEMBERED)


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return _own(_INT_OR_STRING, type=1, intVal=0, strVal=value)
    return _own(_INT_OR_STRING, type=0, intVal=value, strVal="")


def _time(value: str) -> bytes:
    return _TIMES[value]


def _written_time(value: str) -> bytes:
    return _own(_META + "Time", seconds=int(timestamps.parse(value) // 1), nanos=0)


_TIMES = Texts(_written_time, _REMEMBERED)


def _micro_time(value: str) -> bytes:
    micros = timestamps.micros(value)
    return _own(_META + "MicroTime", seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def _json(value: Any) -> bytes:
    out = bytearray()
    delimited(out, 1, orjson.dumps(value))
    return bytes(out)


def _raw(value: Any) -> bytes:
    """Bytes that clients compare, so they are as Go writes them."""
    out = bytearray()
    delimited(out, 1, json.escaped(orjson.dumps(value)))
    return bytes(out)


def _wrapped_list(value: list[str]) -> bytes:
    return _own(_META + "Verbs", items=value)


def _schema_or_bool(value: Any) -> bytes:
    if isinstance(value, bool):
        return _own(_CRD + "JSONSchemaPropsOrBool", allows=value)
    return _own(_CRD + "JSONSchemaPropsOrBool", allows=True, schema=value)


def _schema_or_array(value: Any) -> bytes:
    name = "jSONSchemas" if isinstance(value, list) else "schema"
    return _own(_CRD + "JSONSchemaPropsOrArray", **{name: value})


def _schema_or_strings(value: Any) -> bytes:
    name = "property" if isinstance(value, list) else "schema"
    return _own(_CRD + "JSONSchemaPropsOrStringArray", **{name: value})


_QUANTITY = "k8s.io.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "k8s.io.apimachinery.pkg.util.intstr.IntOrString"
_CRD = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."
_SPECIAL: dict[str, Callable[[Any], bytes]] = {
    _QUANTITY: _quantity,
    _INT_OR_STRING: _int_or_string,
    _META + "Time": _time,
    _META + "MicroTime": _micro_time,
    _META + "FieldsV1": _json,
    _META + "Verbs": _wrapped_list,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw,
    "k8s.io.api.authentication.v1.ExtraValue": _wrapped_list,
    "k8s.io.api.authorization.v1.ExtraValue": _wrapped_list,
    "k8s.io.api.certificates.v1.ExtraValue": _wrapped_list,
    _CRD + "JSON": _json,
    _CRD + "JSONSchemaPropsOrBool": _schema_or_bool,
    _CRD + "JSONSchemaPropsOrArray": _schema_or_array,
    _CRD + "JSONSchemaPropsOrStringArray": _schema_or_strings,
}
