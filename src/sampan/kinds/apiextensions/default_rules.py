"""Defaults in a schema fit the schema: known fields, right types, valid values, obeyed rules.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
"""

from collections.abc import Iterator
from typing import Any

from sampan.kinds.apiextensions import list_types, schema_validation, structural, values
from sampan.kinds.apiextensions.rules import Rules
from sampan.meta import objects
from sampan.meta.status import Cause, invalid_value

Node = dict[str, Any]


def causes(node: Node, path: str) -> list[Cause]:
    """All causes about defaults in a structural schema."""
    return list(_causes(node, path, in_meta=False, root=True))


def _causes(node: Node, path: str, *, in_meta: bool, root: bool = False) -> Iterator[Cause]:
    embedded = root or bool(node.get("x-kubernetes-embedded-resource"))
    if embedded:
        in_meta = False
    if node.get("default") is not None:
        yield from _fits(node, f"{path}.default", in_meta=in_meta)
    # Not through additionalProperties: defaults are not looked for there.
    items = structural.items_of(node)
    if items is not None:
        yield from _causes(items, f"{path}.items", in_meta=in_meta)
    for name, below in structural.properties_of(node).items():
        meta = in_meta or (embedded and name in values.META_FIELDS)
        yield from _causes(below, f"{path}.properties[{name}]", in_meta=meta)


def _fits(node: Node, path: str, *, in_meta: bool) -> list[Cause]:
    given = node["default"]
    pruned = {"value": objects.copy(given)}
    outer = {"type": "object", "properties": {"value": node}}
    found: list[Cause] = []
    if not in_meta and values.prune(pruned, outer):
        found.append(invalid_value(path, given, "must not have unknown fields"))
    try:
        values.coerce({"value": objects.copy(given)}, outer)
    except values.Malformed as error:
        return [*found, invalid_value(path + error.field.removeprefix("value"), error.value, str(error))]
    wrong = _moved(schema_validation.validate(given, node), path)
    wrong += list_types.causes(given, node, path)
    if not wrong and not found:
        wrong = Rules(node, root=bool(node.get("x-kubernetes-embedded-resource"))).causes(given, None, path)
    return found + wrong


def _moved(found: list[Cause], path: str) -> list[Cause]:
    """Causes about the default itself, filed where the default stands."""
    return [Cause(_join(path, c.field), c.type, c.message) for c in found]


def _join(path: str, field: str) -> str:
    if field == schema_validation.ROOT:
        return path
    return f"{path}{field}" if field.startswith("[") else f"{path}.{field}"
