"""Field sets: which fields of an object someone owns, in the fieldsV1 form itself.

A set is a tree: {"f:spec": {"f:replicas": {}}}. An empty node is a member; a node with members below it
is one itself only when it holds ".". Sets are never changed once made; None stands for the empty set
below the root.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from sampan.kit import compact_json
from sampan.kit.frozen import freeze
from sampan.meta import schema
from sampan.meta.apply import elements, ordering

Set = dict[str, Any]

MAX_SHARED, MAX_SHARED_BYTES = 256, 4096
_SHARED: dict[bytes, Set] = {}
_SELF = "."
LEAF: Set = freeze({})  # One for all leaves, so it must not be changed.
_CONTAINERS = (dict, list)

# What every writer has, so that owning it says nothing.
UNOWNED = frozenset(("apiVersion", "kind", "metadata"))
UNOWNED_METADATA = frozenset(
    ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields")
) | {"resourceVersion"}
_UNTRACKED = frozenset((_SELF, *(f"f:{name}" for name in UNOWNED)))
_UNTRACKED_META = frozenset((_SELF, *(f"f:{name}" for name in UNOWNED_METADATA)))


def whole(value: Any, type: schema.Type) -> Set:
    """Every path in the value, parents too: what a write that added (or removed) it touches."""
    kind = type.kind
    if isinstance(value, dict) and value and (kind in {"object", "map", "any"} and type.map_type != "atomic"):
        node: Set = {_SELF: LEAF}
        fields = type.fields if kind == "object" else None
        items = type.items if kind == "map" else schema.ANY
        for name, child in value.items():
            if isinstance(child, _CONTAINERS):
                node[elements.of_field(name)] = whole(
                    child, fields.get(name, schema.ANY) if fields is not None else items
                )
            else:
                node[elements.of_field(name)] = LEAF
        return node
    if kind == "array" and isinstance(value, list) and value and type.list_type != "atomic":
        node = {_SELF: LEAF}
        for item in value:
            element = elements.of_item(item, type)
            if element is not None:
                node[element] = whole(item, type.items) if isinstance(item, dict) else LEAF
        return node
    return LEAF


def shared(fields: Set) -> Set:
    """One set for all that say the same: they are half of a small object.

    What was seen is forgotten when it has become much; long ones are not shared.
    """
    if not fields:
        return fields
    said = orjson.dumps(fields)
    if len(said) > MAX_SHARED_BYTES:
        return ordering.ordered(fields)
    found = _SHARED.get(said)
    if found is None:
        if len(_SHARED) >= MAX_SHARED:
            _SHARED.clear()
        found = _SHARED[compact_json.compact(said)] = ordering.ordered(fields)
    return found


def applied(value: Any, type: schema.Type) -> Set | None:
    """The paths that an applied configuration owns: its leaves, map keys and list items."""
    if isinstance(value, dict) and type.kind in {"object", "map", "any"} and type.map_type != "atomic":
        return _applied_map(value, type) or None
    if type.kind == "array" and isinstance(value, list) and type.list_type != "atomic":
        node: Set = {}
        for item in value:
            element = elements.of_item(item, type)
            if element is not None:
                node[element] = _with_self(applied(item, type.items)) if isinstance(item, dict) else LEAF
        return node or None
    return LEAF


def _applied_map(value: dict[str, Any], type: schema.Type) -> Set:
    node: Set = {}
    declared = type.fields if type.kind == "object" else {}
    for name, child in value.items():
        field = declared.get(name)
        below = applied(child, field or (type.items if type.kind == "map" else schema.ANY))
        if child is None or child == {}:
            below = LEAF
        elif field is None:
            below = _with_self(below)
        if below is not None:
            node[elements.of_field(name)] = below
    return node


def _with_self(node: Set | None) -> Set:
    return {_SELF: LEAF, **node} if node else LEAF


def is_member(node: Set) -> bool:
    """Whether the path that leads to this node is in the set."""
    return not node or _SELF in node


def union(one: Set | None, other: Set | None) -> Set | None:
    """Members of either."""
    if one is None or other is None or one is other:
        return one if other is None else other
    if not one or not other:
        return _with_self(other or one)
    node = dict(one)
    for key, below in other.items():
        mine = node.get(key)
        node[key] = below if mine is None else _union(mine, below)
    return node


def _union(one: Set, other: Set) -> Set:
    merged = union(one, other)
    return LEAF if merged is None else merged


def difference(one: Set | None, other: Set | None) -> Set | None:
    """Members of the first that are not in the second; the first itself when nothing is taken away."""
    if one is None or other is None:
        return one
    if not one:
        return None if is_member(other) else one
    if other and one.keys().isdisjoint(other):
        return one
    node: Set = {}
    changed = False
    for key, below in one.items():
        theirs = other.get(key)
        if key == _SELF:
            left = None if is_member(other) else below
        else:
            left = below if theirs is None else difference(below, theirs)
        changed = changed or left is not below
        if left is not None:
            node[key] = left
    return _normal(node) if changed else one


def outside(one: Set | None, other: Set | None) -> Set | None:
    """Members of the first that are neither in the second nor below a member of it."""
    if not one or not other:
        return one
    node: Set = {}
    for key, below in one.items():
        theirs = other.get(key)
        if theirs is None:
            node[key] = below
        elif not is_member(theirs) and (left := outside(below, theirs)) is not None:
            node[key] = left
    return _normal(node)


def of_paths(paths: Iterable[str]) -> Set:
    """The set of some dotted paths, such as spec and metadata.labels."""
    whole: Set = {}
    for path in paths:
        node = whole
        for step in path.split("."):
            node = node.setdefault(f"f:{step}", {})
    return whole


def intersection(one: Set | None, other: Set | None) -> Set | None:
    """Members of both."""
    if one is None or other is None:
        return None
    if not one or not other:
        return LEAF if is_member(one) and is_member(other) else None
    node: Set = {}
    for key, below in one.items():
        theirs = other.get(key)
        both = None if theirs is None else intersection(below, theirs)
        if both is not None:
            node[key] = both
    return _normal(node)


def _normal(node: Set) -> Set | None:
    """{".": {}} says no more than {}; a node without anything is no member."""
    if len(node) == 1 and _SELF in node:
        return LEAF
    return node or None


def stripped(node: Set | None) -> Set | None:
    """The set without what nobody owns: identity and what the server itself fills in."""
    if not node:
        return None
    kept = {key: below for key, below in node.items() if key not in _UNTRACKED}
    meta = node.get("f:metadata")
    if meta:
        left = {key: below for key, below in meta.items() if key not in _UNTRACKED_META}
        if left:
            return {"f:metadata": left, **kept}
    return kept or None


def paths(node: Set, prefix: str = "") -> Iterator[str]:
    """Every member as messages show it, sorted: .spec.containers[name="x"].image."""
    for key in sorted(node):
        if key == _SELF:
            continue
        path = prefix + elements.show(key)
        if is_member(node[key]):
            yield path
        yield from paths(node[key], path)


def is_valid(node: Any) -> bool:
    """Whether a tree that a client sent is a field set."""
    if not isinstance(node, dict):
        return False
    return all(
        below == {} if key == _SELF else elements.is_valid(key) and is_valid(below) for key, below in node.items()
    )
