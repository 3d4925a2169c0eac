"""Who owns an object's replicas, told as the owners of its Scale's, and back: what an apply to /scale works on.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from typing import Any

from sampan.meta.apply import fieldset

Tree = dict[str, Any]

SCALE_FIELDS: Tree = {"f:spec": {"f:replicas": {}}}


def of_scale(entries: list[Tree], path: str, api_version: str) -> list[Tree]:
    """The entries of those who own the replicas at `path` ("spec.replicas") of an object, as its Scale's."""
    wanted = _fields(path)
    return [
        {**entry, "apiVersion": api_version, "fieldsV1": SCALE_FIELDS}
        for entry in entries
        if fieldset.intersection(entry.get("fieldsV1"), wanted)
    ]


def of_object(entries: list[Tree], path: str, scale_entries: list[Tree], api_version: str) -> list[Tree]:
    """The object's entries, where its replicas are now owned by those who own the Scale's."""
    wanted = _fields(path)
    owners = {_owner(entry): entry for entry in scale_entries if _owns_replicas(entry)}
    made = []
    for entry in entries:
        fields = fieldset.difference(entry.get("fieldsV1"), wanted)
        now = owners.pop(_owner(entry), None)
        time = {} if now is None or "time" not in now else {"time": now["time"]}
        if now is not None:
            fields = fieldset.union(fields, wanted)
        if fields:
            made.append({**entry, **time, "fieldsV1": fields})
    return made + [{**entry, "apiVersion": api_version, "fieldsV1": wanted} for entry in owners.values()]


def _owns_replicas(entry: Tree) -> bool:
    return fieldset.intersection(entry.get("fieldsV1"), SCALE_FIELDS) is not None


def _owner(entry: Tree) -> tuple[Any, ...]:
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource") or "")


def _fields(path: str) -> Tree:
    fields: Tree = {}
    for step in reversed(path.split(".")):
        fields = {f"f:{step}": fields}
    return fields
