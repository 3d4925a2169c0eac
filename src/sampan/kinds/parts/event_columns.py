"""What `kubectl get events` shows, the same for both served versions of an event."""

from typing import Any

from sampan.kinds.kind import Column, Object
from sampan.meta.wire import table


def _either(obj: Object, *names: str) -> Any:
    return next((obj[name] for name in names if obj.get(name)), None)


def about(obj: Object) -> Object:
    """What it happened to."""
    return _either(obj, "involvedObject", "regarding") or {}


def first_seen(obj: Object, now: float) -> str:
    """Time since it first happened."""
    return table.age(_either(obj, "firstTimestamp", "deprecatedFirstTimestamp", "eventTime"), now)


def last_seen(obj: Object, now: float) -> str:
    """Time since it last happened."""
    series = obj.get("series")
    if series:
        return table.age(series.get("lastObservedTime"), now)
    last = _either(obj, "lastTimestamp", "deprecatedLastTimestamp")
    return table.age(last, now) if last else first_seen(obj, now)


def object_text(obj: Object, now: float) -> str:
    """What it happened to: pod/web-1."""
    kind = (about(obj).get("kind") or "").lower()
    return f"{kind}/{about(obj)['name']}" if about(obj).get("name") else kind


def source_text(obj: Object, now: float) -> str:
    """Who says so: kubelet, node-1."""
    source = _either(obj, "source", "deprecatedSource") or {}
    component = source.get("component") or _either(obj, "reportingComponent", "reportingController") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def count(obj: Object, now: float) -> int:
    """How often it happened."""
    series = obj.get("series")
    return int(series.get("count") or 0) if series else int(_either(obj, "count", "deprecatedCount") or 1)


COLUMNS = (
    Column("Last Seen", last_seen),
    Column("Type", "type"),
    Column("Reason", "reason"),
    Column("Object", object_text),
    Column("Subobject", lambda o, now: about(o).get("fieldPath") or "", wide=True),
    Column("Source", source_text, wide=True),
    Column("Message", lambda o, now: (_either(o, "message", "note") or "").strip()),
    Column("First Seen", first_seen, wide=True),
    Column("Count", count, kind="integer", wide=True),
    Column("Name", "metadata.name", format="name", wide=True),
)
