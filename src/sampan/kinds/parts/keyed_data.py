"""Data by key, as ConfigMap and Secret hold it: which keys, how much, and never again."""

import base64
import binascii
from collections.abc import Iterable, Mapping

from sampan.kinds.kind import Object
from sampan.meta import names
from sampan.meta.status import Cause, forbidden_field, invalid_value

MAX_BYTES = 1024 * 1024


def key_causes(data: Mapping[str, str], path: str, other: Mapping[str, str] | None = None) -> list[Cause]:
    """Keys must be file names, and not stand in `other` as well."""
    found = []
    for key in data:
        found += [invalid_value(f"{path}[{key}]", key, text) for text in names.config_map_key(key)]
        if other and path == "data" and key in other:
            found.append(invalid_value(f"{path}[{key}]", key, "duplicate of key present in binaryData"))
    return found


def text_bytes(data: Mapping[str, str]) -> int:
    """Bytes of all values."""
    return sum(len(v) if v.isascii() else len(v.encode()) for v in data.values() if v)


def base64_bytes(data: Mapping[str, str]) -> int:
    """Bytes of all values, decoded."""
    return sum(len(v) * 3 // 4 - v.count("=") for v in data.values() if v)


def size_causes(total: int, path: str) -> list[Cause]:
    """At most 1 MiB in all."""
    if total <= MAX_BYTES:
        return []
    return [Cause(path, "FieldValueTooLong", f"Too long: may not be more than {MAX_BYTES} bytes")]


def immutable_causes(new: Object, old: Object, fields: Iterable[str]) -> list[Cause]:
    """What `immutable: true` forbids an update to change."""
    if not old.get("immutable"):
        return []
    text = "field is immutable when `immutable` is set"
    found = []
    if not new.get("immutable"):
        found.append(forbidden_field("immutable", text))
    found += [forbidden_field(f, text) for f in fields if (new.get(f) or {}) != (old.get(f) or {})]
    return found


def encode(text: str) -> str:
    """Text as the base64 that `data` holds."""
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> bytes | None:
    """Bytes of a base64 value, None when it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
