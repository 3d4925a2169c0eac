"""Whole objects as Kubernetes protobuf: request bodies in, responses and watch frames out.

An object travels as the magic "k8s" and a zero byte and a runtime.Unknown with its apiVersion, kind and bytes. Objects
stay JSON trees inside; this is transcoding at the edge, for every built-in kind and Status.

https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representation-of-resources
"""

from collections.abc import Iterable
from typing import Any

from sampan.meta import status
from sampan.meta.wire import protobuf_read, protobuf_table, protobuf_write

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

message_for = protobuf_table.message_for


def decode(data: bytes, message: str | None = None) -> dict[str, Any]:
    """The object, with the envelope's apiVersion and kind. ApiError 400 for anything else.

    `message` overrides the message that the envelope's kind names.
    """
    try:
        return protobuf_read.read_envelope(data, message)
    except protobuf_read.Fault as fault:
        raise status.bad_request(str(fault)) from None


def encode(tree: dict[str, Any], message: str | None = None) -> bytes:
    """An object, list or Status in its envelope. ApiError 406 when its kind has no protobuf form."""
    return wrap(tree.get("apiVersion", ""), tree.get("kind", ""), body(tree, message))


def body(tree: dict[str, Any], message: str | None = None) -> bytes:
    """The object without an envelope, as it stands in a list: what is worth keeping, as JSON bytes are.

    ApiError 406 when its kind has no protobuf form.
    """
    name = message or _message(tree.get("apiVersion", ""), tree.get("kind", ""))
    return protobuf_write.write(tree, protobuf_table.message(name))


def wrap(api_version: str, kind: str, raw: bytes) -> bytes:
    """The envelope around an object's or list's own bytes."""
    type_meta, out = bytearray(), bytearray(protobuf_read.MAGIC)
    protobuf_write.delimited(type_meta, 1, api_version.encode())
    protobuf_write.delimited(type_meta, 2, kind.encode())
    protobuf_write.delimited(out, 1, bytes(type_meta))
    protobuf_write.delimited(out, 2, raw)
    out += _NO_ENCODING
    return bytes(out)


def encode_list(api_version: str, kind: str, metadata: dict[str, Any], bodies: Iterable[bytes]) -> bytes:
    """A list whose items are at hand as their own bytes. `kind` is the list's. ApiError 406 as `encode`."""
    message = protobuf_table.message(_message(api_version, kind))
    number = next(field.number for field in message.fields if field.name == "items")
    out = bytearray(protobuf_write.write({"metadata": metadata}, message))
    for item in bodies:
        protobuf_write.delimited(out, number, item)
    return wrap(api_version, kind, bytes(out))


def watch_frame(event_type: str, encoded: bytes) -> bytes:
    """One frame of a watch: a four-byte length, then the bare WatchEvent around an encoded object."""
    out, raw = bytearray(), bytearray()
    protobuf_write.delimited(raw, 1, encoded)
    protobuf_write.delimited(out, 1, event_type.encode())
    protobuf_write.delimited(out, 2, bytes(raw))
    return len(out).to_bytes(4, "big") + out


def _message(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    name = message_for(group, version, kind)
    if name is None:
        raise status.not_acceptable(("application/json",))
    return name


# contentEncoding and contentType, both empty, as upstream writes them.
_NO_ENCODING = b"\x1a\x00\x22\x00"
