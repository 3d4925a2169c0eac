"""Cells of `kubectl get` that many kinds share: age, labels, containers, lists with "more".

The server prints (Table); kubectl only lays the cells out. Texts are those of the reference server.
The Name column comes by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Column, Object
from sampan.meta.wire import table

NONE = "<none>"
UNKNOWN = "<unknown>"

_CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


def age(obj: Object, now: float) -> str:
    """Time since creation."""
    return table.age(obj["metadata"].get("creationTimestamp"), now)


def created_at(obj: Object, now: float) -> str:
    """The creation time itself, which roles print instead of an age."""
    return str(obj["metadata"].get("creationTimestamp") or UNKNOWN)


def format_labels(labels: Mapping[str, str] | None) -> str:
    """k=v,k=v sorted by key, or "<none>"."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else NONE


def with_more(items: Sequence[Any], limit: int = 3) -> str:
    """The first `limit` items, then "+ N more..."; "<unset>" for none."""
    text = ",".join(str(item) for item in items[:limit])
    if len(items) > limit:
        return f"{text} + {len(items) - limit} more..."
    return text or "<unset>"


AGE = Column("Age", age, description=_CREATED_TEXT)
CREATED_AT = Column("Created At", created_at, description=_CREATED_TEXT)
