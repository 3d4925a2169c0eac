"""Structural schemas: the rules that make pruning, defaulting and publishing of a schema possible.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from collections.abc import Iterator
from typing import Any

from sampan.kinds.apiextensions import regex
from sampan.meta.status import Cause, forbidden_field, invalid_value, required

Node = dict[str, Any]

ROOT, ITEM, FIELD = "root", "item", "field"
_EMPTY_TYPE = {
    ROOT: "must not be empty at the root",
    ITEM: "must not be empty for specified array items",
    FIELD: "must not be empty for specified object fields",
}
_UNTYPED = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
_JUNCTIONS = ("anyOf", "allOf", "oneOf")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_METADATA_TEXT = "must not specify anything other than name and generateName, but metadata is implicitly specified"


def causes(node: Node, path: str) -> list[Cause]:
    """Everything that keeps a schema from being structural, sorted by text."""
    found = [*_invariants(node, ROOT, path), *_completeness(node, path)]
    return sorted(found, key=lambda cause: cause.text)


def items_of(node: Node) -> Node | None:
    """The schema of an array's items, where it is one schema."""
    items = node.get("items")
    return items if isinstance(items, dict) else None


def others_of(node: Node) -> Node | None:
    """The schema of a map's values, where it is one."""
    others = node.get("additionalProperties")
    return others if isinstance(others, dict) else None


def properties_of(node: Node) -> dict[str, Node]:
    return node.get("properties") or {}


def _invariants(node: Node, level: str, path: str) -> Iterator[Cause]:
    kind, items, others = node.get("type") or "", items_of(node), others_of(node)
    if kind == "array" and items is None:
        yield required(f"{path}.items", "must be specified")
    if items is not None:
        yield from _invariants(items, ITEM, f"{path}.items")
    for name, below in properties_of(node).items():
        yield from _invariants(below, FIELD, f"{path}.properties[{name}]")
    if node.get("additionalProperties") is not None:
        if level == ROOT:
            yield forbidden_field(f"{path}.additionalProperties", "must not be used at the root")
        if others is not None:
            yield from _invariants(others, FIELD, f"{path}.additionalProperties")
    yield from _extensions(node, path)
    yield from _values(node, path, skip_any=_is_any_pattern(node), skip_first=_is_all_pattern(node))
    yield from _types(node, level, path)
    yield from _meta(node, level, path)
    embedded = node.get("x-kubernetes-embedded-resource")
    if embedded and not node.get("x-kubernetes-preserve-unknown-fields") and not properties_of(node):
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        yield required(f"{path}.properties", text)


def _extensions(node: Node, path: str) -> Iterator[Cause]:
    if not node.get("x-kubernetes-int-or-string"):
        return
    for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if node.get(name):
            yield invalid_value(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")


def _types(node: Node, level: str, path: str) -> Iterator[Cause]:
    kind, embedded = node.get("type") or "", node.get("x-kubernetes-embedded-resource")
    if embedded and kind != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif not kind and not any(node.get(name) for name in _UNTYPED):
        yield required(f"{path}.type", _EMPTY_TYPE[level])
    if embedded and node.get("additionalProperties") is not None:
        text = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden_field(f"{path}.additionalProperties", text)
    if level == ROOT and kind and kind != "object":
        yield invalid_value(f"{path}.type", kind, "must be object at the root")


def _meta(node: Node, level: str, path: str) -> Iterator[Cause]:
    """The root and embedded resources: apiVersion, kind and metadata are what they always are."""
    properties = properties_of(node)
    checked = level == ROOT or bool(node.get("x-kubernetes-embedded-resource"))
    for name in ("kind", "apiVersion"):
        if checked and name in properties and properties[name].get("type") != "string":
            kind = properties[name].get("type") or ""
            yield invalid_value(f"{path}.properties[{name}].type", kind, "must be string")
    metadata = properties.get("metadata")
    if metadata is None:
        return
    where = f"{path}.properties[metadata]"
    if checked and metadata.get("type") != "object":
        yield invalid_value(f"{where}.type", metadata.get("type") or "", "must be object")
    if level == ROOT and not _is_plain_meta(metadata):
        yield forbidden_field(where, _METADATA_TEXT)


def _is_plain_meta(metadata: Node) -> bool:
    rest = {key: value for key, value in metadata.items() if key not in ("type", "properties", "default") and value}
    return not rest and set(properties_of(metadata)) <= {"name", "generateName"}


def _is_any_pattern(node: Node) -> bool:
    return bool(node.get("anyOf") == _INT_OR_STRING)


def _is_all_pattern(node: Node) -> bool:
    every = node.get("allOf") or [{}]
    return bool(every[0].get("anyOf") == _INT_OR_STRING)


def _values(node: Node, path: str, *, skip_any: bool = False, skip_first: bool = False) -> Iterator[Cause]:
    """The value validations of a schema, and those nested in them."""
    for junction in _JUNCTIONS:
        for index, below in enumerate(node.get(junction) or ()):
            if junction == "anyOf" and skip_any:
                continue
            skips = junction == "allOf" and index == 0 and skip_first
            yield from _nested(below, f"{path}.{junction}[{index}]", skip_any=skips)
    if node.get("not") is not None:
        yield from _nested(node["not"], f"{path}.not")
    if node.get("pattern") and (fault := regex.fault(node["pattern"])):
        text = f"must be a valid regular expression, but isn't: {fault}"
        yield invalid_value(f"{path}.pattern", node["pattern"], text)


_EMPTY = "must be empty to be structural"
_FALSE = "must be false to be structural"
_UNDEFINED = "must be undefined to be structural"
_NESTED_RULES = {
    "type": _EMPTY,
    "additionalProperties": _UNDEFINED,
    "default": _UNDEFINED,
    "title": _EMPTY,
    "description": _EMPTY,
    "nullable": _FALSE,
    "externalDocs": _UNDEFINED,
    "x-kubernetes-preserve-unknown-fields": _FALSE,
    "x-kubernetes-embedded-resource": _FALSE,
    "x-kubernetes-int-or-string": _FALSE,
    "x-kubernetes-list-map-keys": _EMPTY,
    "x-kubernetes-list-type": _UNDEFINED,
    "x-kubernetes-map-type": _UNDEFINED,
    "x-kubernetes-validations": _EMPTY,
}


def _nested(node: Node, path: str, *, skip_any: bool = False) -> Iterator[Cause]:
    """A schema inside allOf, anyOf, oneOf or not: it may only restrict."""
    yield from _values(node, path, skip_any=skip_any)
    items = items_of(node)
    if items is not None:
        yield from _nested(items, f"{path}.items")
    for name, below in properties_of(node).items():
        yield from _nested(below, f"{path}.properties[{name}]")
    for name, text in _NESTED_RULES.items():
        value = node.get(name)
        if value or (text is _UNDEFINED and value is not None):
            yield forbidden_field(f"{path}.{name}", text)
    if "metadata" in properties_of(node):
        yield forbidden_field(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(node: Node, path: str) -> Iterator[Cause]:
    """What is restricted in a junction must be declared outside it."""
    skip_any, skip_first = _is_any_pattern(node), _is_all_pattern(node)
    for where, below in _choices(node, path):
        if (where.startswith(f"{path}.anyOf") and skip_any) or (where == f"{path}.allOf[0]" and skip_first):
            continue
        yield from _declared(below, node, path, where)
    items, others = items_of(node), others_of(node)
    if items is not None:
        yield from _completeness(items, f"{path}.items")
    for name, below in properties_of(node).items():
        yield from _completeness(below, f"{path}.properties[{name}]")
    if others is not None:
        yield from _completeness(others, f"{path}.additionalProperties")


def _choices(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    for junction in _JUNCTIONS:
        for index, below in enumerate(node.get(junction) or ()):
            yield f"{path}.{junction}[{index}]", below
    if node.get("not") is not None:
        yield f"{path}.not", node["not"]


def _declared(inner: Node, outer: Node, path: str, where: str) -> Iterator[Cause]:
    for place, below in _choices(inner, where):
        yield from _declared(below, outer, path, place)
    items, known = items_of(inner), items_of(outer)
    if items is not None:
        if known is None:
            yield required(f"{path}.items", f"because it is defined in {where}.items")
        else:
            yield from _declared(items, known, f"{path}.items", f"{where}.items")
    for name, below in properties_of(inner).items():
        there = properties_of(outer).get(name)
        place, origin = f"{path}.properties[{name}]", f"{where}.properties[{name}]"
        if there is None:
            yield required(place, f"because it is defined in {origin}")
        else:
            yield from _declared(below, there, place, origin)
