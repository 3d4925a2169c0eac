"""Decorate: an object -> the same object as it should be, written only when something differs."""

from typing import Any

from sampan.control.plan import Update, Write
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects


def status(kind: Kind, obj: Object, wanted: Object) -> tuple[Write, ...]:
    """Writes the status if it differs from what is there. Absent, None and empty lists are the same."""
    cleaned = {name: value for name, value in wanted.items() if value is not None and value != []}
    if cleaned == obj.get("status", {}):
        return ()
    return (Update(kind, {**obj, "status": cleaned}, "status"),)


def metadata(kind: Kind, obj: Object, **changes: Any) -> tuple[Write, ...]:
    """Writes changed metadata fields, such as annotations=..., if they differ. None removes the field."""
    merged = {**obj["metadata"], **changes}
    wanted = {name: value for name, value in merged.items() if value not in (None, {}, [])}
    if wanted == obj["metadata"]:
        return ()
    return (Update(kind, {**obj, "metadata": wanted}),)


def annotated(obj: Object, wanted: dict[str, str]) -> dict[str, str]:
    """The object's annotations with these set."""
    return {**objects.annotations(obj), **wanted}
