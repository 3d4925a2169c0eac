"""Object trees to protobuf bytes, by the table of field numbers.

Fields go out in the order of their numbers; what is absent in the tree is absent on the wire, and
what is there goes out even when zero, so that a reader can tell the difference.

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

_META = protobuf_table.META


def write(tree: dict[str, Any], message: Message) -> bytes:
    """The message's bytes. The tree must fit its schema."""
    out = bytearray()
    for field in message.fields:
        if field.inline:
            inner = write(tree, protobuf_table.message(field.kind))
            if inner:
                delimited(out, field.number, inner)
            continue
        value = tree.get(field.name)
        if value is None:
            continue
        if field.is_map:
            for key in sorted(value):
                delimited(out, field.number, _entry(key, value[key], field))
        elif field.repeated:
            for item in value:
                _put(out, field.number, field, item)
        else:
            _put(out, field.number, field, value)
    return bytes(out)


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


def _entry(key: str, value: Any, field: Field) -> bytes:
    out = bytearray()
    delimited(out, 1, key.encode())
    if value is not None:
        _put(out, 2, field, value)
    return bytes(out)


def _put(out: bytearray, number: int, field: Field, value: Any) -> None:
    kind = field.kind
    if kind == "string":
        delimited(out, number, value.encode())
    elif kind in ("int32", "int64", "bool"):
        out += varint(number << 3)
        out += varint(int(value))
    elif kind == "bytes":
        delimited(out, number, base64.b64decode(value))
    elif kind == "double":
        out += varint(number << 3 | 1)
        out += struct.pack("<d", value)
    else:
        special = _SPECIAL.get(kind)
        delimited(out, number, special(value) if special else write(value, protobuf_table.message(kind)))


# Messages whose JSON is not an object of their fields.


def _own(name: str, **fields: Any) -> bytes:
    return write(fields, protobuf_table.message(name))


def _quantity(value: Any) -> bytes:
    return _own(_QUANTITY, string=str(value))


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return _own(_INT_OR_STRING, type=1, intVal=0, strVal=value)
    return _own(_INT_OR_STRING, type=0, intVal=value, strVal="")


def _time(value: str) -> bytes:
    return _own(_META + "Time", seconds=int(timestamps.parse(value) // 1), nanos=0)


def _micro_time(value: str) -> bytes:
    micros = round(timestamps.parse(value) * 1_000_000)
    return _own(_META + "MicroTime", seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def _json(value: Any) -> bytes:
    out = bytearray()
    delimited(out, 1, orjson.dumps(value))
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
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _json,
    "k8s.io.api.authentication.v1.ExtraValue": _wrapped_list,
    "k8s.io.api.authorization.v1.ExtraValue": _wrapped_list,
    "k8s.io.api.certificates.v1.ExtraValue": _wrapped_list,
    _CRD + "JSON": _json,
    _CRD + "JSONSchemaPropsOrBool": _schema_or_bool,
    _CRD + "JSONSchemaPropsOrArray": _schema_or_array,
    _CRD + "JSONSchemaPropsOrStringArray": _schema_or_strings,
}
