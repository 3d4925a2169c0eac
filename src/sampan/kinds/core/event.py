"""Event: something that happened to an object, for people to read.

One storage serves core/v1 and events.k8s.io/v1: the same facts under older and newer field names.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import Column, Kind, Object
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value
from sampan.meta.wire import table


def first_seen(obj: Object, now: float) -> str:
    """Time since it first happened."""
    return table.age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def last_seen(obj: Object, now: float) -> str:
    """Time since it last happened."""
    series = obj.get("series")
    if series:
        return table.age(series.get("lastObservedTime"), now)
    return table.age(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first_seen(obj, now)


def object_text(obj: Object, now: float) -> str:
    """What it happened to: pod/web-1."""
    about = obj.get("involvedObject") or {}
    kind = (about.get("kind") or "").lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def source_text(obj: Object, now: float) -> str:
    """Who says so: kubelet, node-1."""
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def count(obj: Object, now: float) -> int:
    """How often it happened."""
    series = obj.get("series")
    return int(series.get("count") or 0) if series else int(obj.get("count") or 1)


EVENT = Kind(
    group="",
    versions=("v1",),
    name="Event",
    plural="events",
    schema="io.k8s.api.core.v1.Event",
    short_names=("ev",),
    columns=(
        Column("Last Seen", last_seen),
        Column("Type", "type"),
        Column("Reason", "reason"),
        Column("Object", object_text),
        Column("Subobject", "involvedObject.fieldPath", wide=True),
        Column("Source", source_text, wide=True),
        Column("Message", lambda o, now: (o.get("message") or "").strip()),
        Column("First Seen", first_seen, wide=True),
        Column("Count", count, kind="integer", wide=True),
        Column("Name", "metadata.name", format="name", wide=True),
    ),
    selectable={
        "involvedObject.kind": "involvedObject.kind",
        "involvedObject.namespace": "involvedObject.namespace",
        "involvedObject.name": "involvedObject.name",
        "involvedObject.uid": "involvedObject.uid",
        "involvedObject.apiVersion": "involvedObject.apiVersion",
        "involvedObject.resourceVersion": "involvedObject.resourceVersion",
        "involvedObject.fieldPath": "involvedObject.fieldPath",
        "reason": "reason",
        "reportingComponent": "reportingComponent",
        "source": "source.component",
        "type": "type",
    },
)


def default(obj: Object) -> None:
    """The fields that are always on the wire, even when empty."""
    for name in ("eventTime", "firstTimestamp", "lastTimestamp"):
        obj.setdefault(name, None)
    obj.setdefault("source", {})
    obj.setdefault("reportingComponent", "")
    obj.setdefault("reportingInstance", "")


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """It lies in the namespace of what it is about (default, for objects of the whole cluster)."""
    about = (new.get("involvedObject") or {}).get("namespace") or ""
    own = objects.namespace(new)
    if not about and own not in {"default", "kube-system"}:
        return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]
    if about and own != about:
        return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]
    return ()
