"""Whole objects as Kubernetes protobuf: request bodies in, responses and watch frames out.

An object travels as the magic "k8s" and a zero byte and a runtime.Unknown with its apiVersion, kind and bytes. Objects
stay JSON trees inside; this is transcoding at the edge, for every built-in kind and Status.

https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representation-of-resources
"""

import base64
from typing import Any

from sampan.meta import status
from sampan.meta.wire import protobuf_read, protobuf_table, protobuf_write

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"

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
    api_version, kind = tree.get("apiVersion", ""), tree.get("kind", "")
    group, _, version = api_version.rpartition("/")
    name = message or message_for(group, version, kind)
    if name is None:
        raise status.not_acceptable(("application/json",))
    raw = protobuf_write.write(tree, protobuf_table.message(name))
    envelope = {
        "typeMeta": {"apiVersion": api_version, "kind": kind},
        "raw": base64.b64encode(raw),
        "contentEncoding": "",
        "contentType": "",
    }
    return protobuf_read.MAGIC + protobuf_write.write(envelope, protobuf_table.message(_UNKNOWN))


def watch_frame(event_type: str, encoded: bytes) -> bytes:
    """One frame of a watch: a four-byte length, then the bare WatchEvent around an encoded object."""
    body, raw = bytearray(), bytearray()
    protobuf_write.delimited(raw, 1, encoded)
    protobuf_write.delimited(body, 1, event_type.encode())
    protobuf_write.delimited(body, 2, bytes(raw))
    return len(body).to_bytes(4, "big") + body
