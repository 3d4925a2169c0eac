"""Table and PartialObjectMetadata: objects as `kubectl get` and metadata-only clients ask for them.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from sampan.meta import timestamps

Object = dict[str, Any]

_NAME = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow "
    "a client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


class Column(Protocol):
    """What a table needs to know of a kind's column; kinds.kind.Column is one."""

    @property
    def name(self) -> str:
        """The heading."""
        ...

    @property
    def value(self) -> str | Callable[[Object, float], Any]:
        """A dotted path, or (object, now) -> cell."""
        ...

    @property
    def kind(self) -> str:
        """The cell's type: string, integer, date."""
        ...

    @property
    def format(self) -> str:
        """A refinement of the type: name, date-time."""
        ...

    @property
    def description(self) -> str:
        """What the heading means."""
        ...

    @property
    def wide(self) -> int:
        """Its priority: only `-o wide` shows those above 0."""
        ...


def table(
    columns: Sequence[Column],
    objects: Iterable[Object],
    now: float,
    include_object: str = "Metadata",
    resource_version: str = "",
) -> Object:
    """A Table with the Name column and the given ones, one row an object.

    `include_object` is Metadata, Object or None. A column named Name replaces the usual first one.
    The caller adds `continue` and `remainingItemCount` to its metadata.
    """
    named = any(column.name == "Name" for column in columns)
    definitions = [] if named else [_definition("Name", "string", "name", _NAME)]
    definitions += [_of_column(column) for column in columns]
    if not columns:
        definitions.append(_definition("Created At", "date", "", _CREATED))
    getters = tuple(_getter(column) for column in columns)
    lead: tuple[Callable[[Object, float], Any], ...] = () if named else (_name,)
    getters = lead + (getters or (_created,))
    metadata = {"resourceVersion": resource_version} if resource_version else {}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": [
            {"cells": [get(obj, now) for get in getters], "object": _included(obj, include_object)} for obj in objects
        ],
    }


def without_columns(made: Object) -> Object:
    """The same table as a watch sends it after its first event: no column definitions."""
    return {**made, "columnDefinitions": None}


def in_version(made: Object, version: str) -> Object:
    """The same Table or PartialObjectMetadata in another version of meta.k8s.io: they differ in what they say they are."""
    if version == "v1":
        return made
    said = {**made, "apiVersion": f"meta.k8s.io/{version}"}
    if "rows" in said:
        said["rows"] = [in_row(row, version) for row in said["rows"]]
    return said


def in_row(row: Object, version: str) -> Object:
    """The same for one row of a Table."""
    shown = row.get("object") or {}
    if version == "v1" or shown.get("kind") != "PartialObjectMetadata":
        return row
    return {**row, "object": in_version(shown, version)}


def partial_metadata(obj: Object) -> Object:
    """The object as PartialObjectMetadata: its metadata alone."""
    metadata = obj.get("metadata", {})
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}


def partial_metadata_list(objects: Iterable[Object], metadata: Object) -> Object:
    """A PartialObjectMetadataList; `metadata` is the list's."""
    items = [partial_metadata(obj) for obj in objects]
    return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}


def human_duration(seconds: float) -> str:
    """An age as kubectl shows it: 45s, 3m20s, 15m, 2h5m, 20h, 3d4h, 45d, 2y30d."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 180:
        return _two(minutes, "m", whole % 60, "s") if minutes < 10 else f"{minutes}m"
    hours = minutes // 60
    if hours < 48:
        return _two(hours, "h", minutes % 60, "m") if hours < 8 else f"{hours}h"
    days = hours // 24
    return _days(days, hours % 24)


def _days(days: int, hours: int) -> str:
    if days < 730:
        return _two(days, "d", hours, "h") if days < 8 else f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def age(timestamp: str | None, now: float) -> str:
    """The time since an RFC 3339 timestamp as kubectl shows it; <unknown> when there is none."""
    return human_duration(now - timestamps.parse(timestamp)) if timestamp else "<unknown>"


_CREATED = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. "
    "It is not guaranteed to be set in happens-before order across separate operations."
)


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def _definition(name: str, kind: str, form: str, description: str, wide: int = 0) -> Object:
    return {"name": name, "type": kind, "format": form, "description": description, "priority": int(wide)}


def _of_column(column: Column) -> Object:
    return _definition(column.name, column.kind, column.format, column.description, column.wide)


def _name(obj: Object, now: float) -> Any:
    return obj.get("metadata", {}).get("name", "")


def _created(obj: Object, now: float) -> Any:
    return obj.get("metadata", {}).get("creationTimestamp")


def _getter(column: Column) -> Callable[[Object, float], Any]:
    if not isinstance(column.value, str):
        return column.value
    path = tuple(column.value.split("."))
    if column.kind == "date" or path == ("metadata", "creationTimestamp"):
        return lambda obj, now: age(_at(obj, path), now)
    missing: Any = 0 if column.kind == "integer" else ""
    return lambda obj, now: missing if (found := _at(obj, path)) is None else found


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def _included(obj: Object, include_object: str) -> Object | None:
    if include_object == "None":
        return None
    return obj if include_object == "Object" else partial_metadata(obj)
