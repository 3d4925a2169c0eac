"""The paths of the OpenAPI v2 document in protobuf: which operations there are, and with which parameters.

Field numbers are those of the gnostic project's openapi.v2 messages.

https://github.com/google/gnostic-models/blob/main/openapiv2/OpenAPIv2.proto
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.meta.wire import json
from sampan.meta.wire.protobuf_write import delimited, varint

Tree = Mapping[str, Any]
Schema = Callable[[Tree], bytes]

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_TEXTS = (("summary", 2), ("description", 3), ("operationId", 5))  # of an Operation
_LISTS = (("tags", 1), ("produces", 6), ("consumes", 7), ("schemes", 10))
_PLACES = {"query": (3, 6, 20), "path": (4, 5, 19)}  # which parameter; the numbers of its type and of uniqueItems


def encode(paths: Tree, schema: Schema) -> bytes:
    """A Paths message; `schema` writes a Schema."""
    out = bytearray()
    for path, item in paths.items():
        _named(out, 2, path, _item(item, schema))
    return bytes(out)


def _item(item: Tree, schema: Schema) -> bytes:
    out = bytearray()
    for method, number in _METHODS.items():
        if method in item:
            delimited(out, number, _operation(item[method], schema))
    for parameter in item.get("parameters") or ():
        delimited(out, 9, _parameter(parameter, schema))
    return bytes(out)


def _operation(operation: Tree, schema: Schema) -> bytes:
    out = bytearray()
    for key, number in _TEXTS:
        if key in operation:
            _text(out, number, operation[key])
    for key, number in _LISTS:
        for text in operation.get(key) or ():
            _text(out, number, text)
    for parameter in operation.get("parameters") or ():
        delimited(out, 8, _parameter(parameter, schema))
    responses = bytearray()
    for code, response in operation["responses"].items():
        _named(responses, 1, code, _only(1, _response(response, schema)))
    delimited(out, 9, bytes(responses))
    _extensions(out, 13, operation.items())
    return bytes(out)


def _parameter(parameter: Tree, schema: Schema) -> bytes:
    """A ParametersItem that holds a Parameter."""
    out = bytearray()
    if parameter["in"] == "body":
        _text(out, 2, parameter["name"])
        _text(out, 3, "body")
        _flag(out, 4, is_set=bool(parameter.get("required")))
        delimited(out, 5, schema(parameter["schema"]))
        return _only(1, _only(1, bytes(out)))
    which, kind, unique = _PLACES[parameter["in"]]
    _flag(out, 1, is_set=bool(parameter.get("required")))
    _text(out, 2, parameter["in"])
    _text(out, 3, parameter.get("description", ""))
    _text(out, 4, parameter["name"])
    _text(out, kind, parameter["type"])
    _flag(out, unique, is_set=bool(parameter.get("uniqueItems")))
    return _only(1, _only(2, _only(which, bytes(out))))


def _response(response: Tree, schema: Schema) -> bytes:
    out = bytearray()
    _text(out, 1, response["description"])
    if "schema" in response:
        delimited(out, 2, _only(1, schema(response["schema"])))
    return bytes(out)


def _extensions(out: bytearray, number: int, pairs: Iterable[tuple[str, Any]]) -> None:
    for key, value in pairs:
        if key.startswith("x-"):
            _named(out, number, key, _only(2, json.encode(value) + b"\n"))  # YAML, of which JSON is a part


def _named(out: bytearray, number: int, name: str, value: bytes) -> None:
    entry = bytearray()
    _text(entry, 1, name)
    delimited(entry, 2, value)
    delimited(out, number, bytes(entry))


def _only(number: int, data: bytes) -> bytes:
    """A message of one field."""
    out = bytearray()
    delimited(out, number, data)
    return bytes(out)


def _text(out: bytearray, number: int, text: str) -> None:
    delimited(out, number, text.encode())


def _flag(out: bytearray, number: int, *, is_set: bool) -> None:
    if is_set:
        out += varint(number << 3) + varint(1)
