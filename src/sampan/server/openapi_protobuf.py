"""The OpenAPI v2 document in protobuf, which clients read to check lists and files.

Field numbers are those of the gnostic project's openapi.v2 messages.

https://github.com/google/gnostic-models/blob/main/openapiv2/OpenAPIv2.proto
"""

from collections.abc import Mapping
from typing import Any

from sampan.meta.wire import json
from sampan.meta.wire.protobuf_write import delimited, varint
from sampan.server import openapi_protobuf_paths

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OLD_MEDIA = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

# Document and Info
_SWAGGER, _INFO, _PATHS, _DEFINITIONS = 1, 2, 8, 9
_TITLE, _VERSION = 1, 2
# Schema
_REF, _FORMAT, _DESCRIPTION, _DEFAULT, _REQUIRED, _ADDITIONAL, _TYPE, _ITEMS, _PROPERTIES, _EXTENSIONS = (
    1, 2, 4, 5, 19, 21, 22, 23, 25, 31,
)  # fmt: skip
_TEXTS = (("$ref", _REF), ("format", _FORMAT), ("description", _DESCRIPTION))

Tree = Mapping[str, Any]


def encode(document: Tree) -> bytes:
    """The document's head, paths and definitions as a Document message."""
    out = bytearray()
    _text(out, _SWAGGER, document["swagger"])
    info = bytearray()
    _text(info, _TITLE, document["info"]["title"])
    _text(info, _VERSION, document["info"]["version"])
    delimited(out, _INFO, bytes(info))
    delimited(out, _PATHS, openapi_protobuf_paths.encode(document["paths"], _schema))
    delimited(out, _DEFINITIONS, _named_schemas(document["definitions"]))
    return bytes(out)


def _named_schemas(nodes: Mapping[str, Tree]) -> bytes:
    """Definitions and Properties alike: entries of a name and a schema."""
    out = bytearray()
    for name, node in nodes.items():
        entry = bytearray()
        _text(entry, 1, name)
        delimited(entry, 2, _schema(node))
        delimited(out, 1, bytes(entry))
    return bytes(out)


def _schema(node: Tree) -> bytes:
    out = bytearray()
    for key, number in _TEXTS:
        if key in node:
            _text(out, number, node[key])
    if "default" in node:
        delimited(out, _DEFAULT, _any(node["default"]))
    for name in node.get("required") or ():
        _text(out, _REQUIRED, name)
    if "additionalProperties" in node:
        delimited(out, _ADDITIONAL, _additional(node["additionalProperties"]))
    if "type" in node:
        kinds = bytearray()
        _text(kinds, 1, node["type"])
        delimited(out, _TYPE, bytes(kinds))
    if "items" in node:
        items = bytearray()
        delimited(items, 1, _schema(node["items"]))
        delimited(out, _ITEMS, bytes(items))
    if node.get("properties"):
        delimited(out, _PROPERTIES, _named_schemas(node["properties"]))
    for key, value in node.items():
        if key.startswith("x-"):
            extension = bytearray()
            _text(extension, 1, key)
            delimited(extension, 2, _any(value))
            delimited(out, _EXTENSIONS, bytes(extension))
    return bytes(out)


def _additional(value: Any) -> bytes:
    out = bytearray()
    if isinstance(value, bool):
        out += varint(2 << 3) + varint(int(value))
    else:
        delimited(out, 1, _schema(value))
    return bytes(out)


def _any(value: Any) -> bytes:
    """Any value as YAML, of which JSON is a part."""
    out = bytearray()
    delimited(out, 2, json.encode(value) + b"\n")
    return bytes(out)


def _text(out: bytearray, number: int, text: str) -> None:
    delimited(out, number, text.encode())
