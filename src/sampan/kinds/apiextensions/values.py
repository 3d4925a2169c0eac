"""What a custom object keeps: unknown fields are pruned, nulls dropped, defaults filled in, metadata coerced.

All of it follows the structural schema of the object's version, a tree as it stands in the
CustomResourceDefinition (openAPIV3Schema), and changes objects in place: callers own them.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
"""

from collections.abc import Iterator
from typing import Any

from sampan.meta import fields, objects, schema

Node = dict[str, Any]

META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class Malformed(ValueError):
    """Metadata that is none: `field` is its path, `value` what is there."""

    def __init__(self, field: str, value: Any, why: str) -> None:
        super().__init__(why)
        self.field = field
        self.value = value


def complete(obj: Node, node: Node) -> None:
    """What every object gets when it comes in, and when it is read from the store: the schema's form."""
    drop_nulls(obj, node)
    default(obj, node)


def keep_form(obj: Node, node: Node) -> None:
    """Prunes and completes, forgiving malformed embedded metadata: for objects that are stored already."""
    coerce(obj, node, forgive=True)
    prune(obj, node)
    complete(obj, node)


def take_form(obj: Node, node: Node) -> None:
    """What an object gets that comes out of a conversion: the schema's form, without its defaults."""
    coerce(obj, node, forgive=True)
    prune(obj, node)
    drop_nulls(obj, node)


# Pruning


def prune(obj: Node, node: Node) -> list[str]:
    """Takes out what the schema does not know; the paths of it: spec.foo, spec.ports[0].bar. The root's metadata stays."""
    gone: list[str] = []
    _prune(obj, {**node, "x-kubernetes-embedded-resource": True}, "", gone)
    return gone


def _prune(value: Any, node: Node | None, path: str, gone: list[str]) -> None:
    if isinstance(value, dict):
        _prune_object(value, node or {}, path, gone)
    elif isinstance(value, list):
        items = (node or {}).get("items")
        if items is None and keeps_unknown(node):
            return
        for index, item in enumerate(value):
            if item.__class__ is dict or item.__class__ is list:
                _prune(item, items, f"{path}[{index}]", gone)


def _prune_object(value: Node, node: Node, path: str, gone: list[str]) -> None:
    properties, others = node.get("properties") or {}, node.get("additionalProperties")
    embedded, loose = node.get("x-kubernetes-embedded-resource"), keeps_unknown(node)
    unknown: list[str] = []
    for key, item in value.items():
        if embedded and key in META_FIELDS:
            continue
        inner = properties.get(key)
        if inner is None and others:
            inner = others if isinstance(others, dict) else {}
        if inner is None:
            if not loose:
                unknown.append(key)
        elif item.__class__ is dict or item.__class__ is list:
            _prune(item, inner, f"{path}.{key}" if path else key, gone)
    for key in unknown:
        gone.append(f"{path}.{key}" if path else key)
        del value[key]


def keeps_unknown(node: Node | None) -> bool:
    """Whether fields that the schema does not name stay."""
    return bool(node and node.get("x-kubernetes-preserve-unknown-fields"))


# Nulls and defaults


def drop_nulls(value: Any, node: Node | None) -> None:
    """Takes out nulls where the schema allows none and has no default in their place."""
    if node is None:
        return
    if isinstance(value, dict):
        for key in list(value):
            inner = below(node, key)
            if inner is None:
                continue
            if value[key] is None and not inner.get("nullable") and inner.get("default") is None:
                del value[key]
            else:
                drop_nulls(value[key], inner)
    elif isinstance(value, list):
        for item in value:
            drop_nulls(item, node.get("items"))


def default(value: Any, node: Node | None) -> None:
    """Fills in defaults where nothing is said, or null where null is not allowed."""
    if node is None:
        return
    if isinstance(value, dict):
        for key, inner in (node.get("properties") or {}).items():
            if inner.get("default") is not None and _is_missing(value, key, inner):
                value[key] = objects.copy(inner["default"])
        for key in value:
            found = below(node, key)
            if found is None:
                continue
            if value[key] is None and not found.get("nullable"):
                value[key] = objects.copy(found.get("default"))
            default(value[key], found)
    elif isinstance(value, list):
        items = node.get("items")
        for index, item in enumerate(value):
            if item is None and items is not None and not items.get("nullable"):
                value[index] = objects.copy(items.get("default"))
            default(value[index], items)


def _is_missing(value: Node, key: str, node: Node) -> bool:
    return key not in value or (value[key] is None and not node.get("nullable"))


def below(node: Node, key: str) -> Node | None:
    """The schema of a field; None where there is none."""
    found = (node.get("properties") or {}).get(key)
    if found is None:
        others = node.get("additionalProperties")
        found = others if isinstance(others, dict) else None
    return found


# Embedded metadata


def coerce(obj: Node, node: Node, *, forgive: bool = False) -> list[str]:
    """Gives embedded objects' metadata its form; the paths of unknown fields, which go. Raises Malformed.

    With `forgive`, fields of a wrong type go instead. The root's own metadata is the server's matter.
    """
    gone: list[str] = []
    for path, embedded in list(_embedded(obj, node, "", root=True)):
        for key in ("apiVersion", "kind"):
            if key in embedded and not isinstance(embedded[key], str):
                if not forgive:
                    raise Malformed(f"{path}.{key}", embedded[key], "must be a string")
                del embedded[key]
        if "metadata" in embedded:
            _coerce_meta(embedded, path, gone, forgive=forgive)
    return gone


def _embedded(value: Any, node: Node | None, path: str, *, root: bool = False) -> Iterator[tuple[str, Node]]:
    """Every embedded object below, with its path."""
    if node is None:
        return
    if isinstance(value, dict):
        if node.get("x-kubernetes-embedded-resource") and not root:
            yield path, value
        for key, item in value.items():
            if not (root and key in META_FIELDS):
                yield from _embedded(item, below(node, key), f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _embedded(item, node.get("items"), f"{path}[{index}]")


def embedded(obj: Node, node: Node) -> list[tuple[str, Node]]:
    """Every embedded object of an object, with its path."""
    return list(_embedded(obj, node, "", root=True))


def _coerce_meta(embedded: Node, path: str, gone: list[str], *, forgive: bool) -> None:
    kind = schema.definition(_OBJECT_META)
    where, given = f"{path}.metadata", embedded["metadata"]
    if not isinstance(given, dict):
        if not forgive:
            raise Malformed(
                where, given, f"json: cannot unmarshal {_go_kind(given)} into Go value of type v1.ObjectMeta"
            )
        return
    try:
        kept, unknown = fields.conform(given, kind)
    except fields.Mismatch as error:
        if not forgive:
            raise Malformed(where, given, str(error)) from error
        kept, unknown = {k: v for k, v in given.items() if _fits(k, v, kind)}, []
    gone += [text.replace('unknown field "', f"{where}.", 1).rstrip('"') for text in unknown]
    embedded["metadata"] = kept


def _fits(key: str, value: Any, kind: schema.Type) -> bool:
    try:
        return not fields.conform({key: value}, kind)[1]
    except fields.Mismatch:
        return False


def _go_kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "number"
