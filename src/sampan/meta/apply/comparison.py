"""Comparison: what a write changed, as two field sets: added or changed, and removed.

Unchanged subtrees are skipped by plain equality; changed ones are walked once, along the schema.
"""

from typing import Any, NamedTuple

import orjson

from sampan.kit import compact_json
from sampan.meta import objects, schema
from sampan.meta.apply import elements, fieldset

Set = fieldset.Set

# Fields that a Go structure always has, empty or not: a new object is compared with those, not with nothing.
_ALWAYS_THERE = frozenset(
    ("metadata", "spec", "status", "template", "jobTemplate", "strategy", "updateStrategy", "loadBalancer")
) | frozenset(("nodeInfo", "daemonEndpoints", "kubeletEndpoint", "involvedObject", "source", "regarding"))


class Difference(NamedTuple):
    """`changed` holds added and modified paths, `removed` those that are gone. None = empty."""

    changed: Set | None
    removed: Set | None


MAX_KNOWN = 256
MAX_KNOWN_BYTES = 8192
NOTHING = Difference(None, None)
_LEAF = fieldset.LEAF
_CONTAINERS = (dict, list)
_LEAF_CHANGED = Difference(_LEAF, None)
_KNOWN_SPECS: dict[tuple[str, bytes], Set] = {}
"""Specs of new objects that were seen lately, as type and JSON, with the fields that they have."""


def creation(new: dict[str, Any], type: schema.Type) -> Set | None:
    """What a create adds: everything, without the identity that nobody owns."""
    metadata = _created(new.get("metadata") or {}, _field(type, "metadata"), fieldset.UNOWNED_METADATA)
    rest = _created(new, type, fieldset.UNOWNED)
    return {"f:metadata": metadata, **rest} if metadata else rest or None


def _created(new: dict[str, Any], type: schema.Type, unowned: frozenset[str] = frozenset()) -> Set:
    """As `fieldset.whole`, but parents that are always there are not added, with their children or without any."""
    node: Set = {}
    fields, required = type.fields, type.required
    for name, child in new.items():
        if name in unowned:
            continue
        if not isinstance(child, _CONTAINERS):
            node[elements.of_field(name)] = _LEAF
            continue
        below = fields.get(name, schema.ANY)
        if name in _ALWAYS_THERE and isinstance(child, dict) and below.kind == "object" and (child or type.name):
            if child:
                alike = _created_alike if name == "spec" else _created
                node[elements.of_field(name)] = alike(child, below)
            continue
        found = fieldset.whole(child, below)
        if name in required and "." in found:
            found = {key: value for key, value in found.items() if key != "."}
        node[elements.of_field(name)] = found
    return node


def _created_alike(spec: dict[str, Any], type: schema.Type) -> Set:
    """The same for a spec, remembered: objects that are made from one template say the same in it."""
    said = orjson.dumps(spec) if type.name else b""
    if not said or len(said) > MAX_KNOWN_BYTES:
        return _created(spec, type)
    known = _KNOWN_SPECS.get((type.name, said))
    if known is None:
        if len(_KNOWN_SPECS) >= MAX_KNOWN:
            _KNOWN_SPECS.clear()
        known = _KNOWN_SPECS[type.name, compact_json.compact(said)] = _created(spec, type)
    return known


def compare_objects(old: dict[str, Any], new: dict[str, Any], type: schema.Type) -> Difference:
    """What turned one object into another, without what nobody owns."""
    found = _maps(old, new, type)
    return Difference(fieldset.stripped(found.changed), fieldset.stripped(found.removed))


def compare(old: Any, new: Any, type: schema.Type) -> Difference:
    """What turned `old` into `new`."""
    return NOTHING if old is not None and objects.same(old, new) else _compare(old, new, type)


def _compare(old: Any, new: Any, type: schema.Type) -> Difference:
    """The same of two that are not the same."""
    if isinstance(old, dict) and isinstance(new, dict) and (old or new):
        if type.kind in {"object", "map", "any"} and type.map_type != "atomic":
            return _maps(old, new, type)
    elif isinstance(old, list) and isinstance(new, list) and type.kind == "array" and type.list_type != "atomic":
        return _lists(old, new, type)
    return _replaced(old, new, type)


def _replaced(old: Any, new: Any, type: schema.Type) -> Difference:
    """One value in the place of another: what was below the old one has gone with it."""
    if isinstance(old, _CONTAINERS) or isinstance(new, _CONTAINERS):
        return Difference(fieldset.whole(new, type), fieldset.whole(old, type) or None)
    return NOTHING if old is None and new is None else _LEAF_CHANGED


def _maps(old: dict[str, Any], new: dict[str, Any], type: schema.Type) -> Difference:
    changed: Set = {}
    removed: Set = {}
    for name, value in new.items():
        if name in old:
            before = old[name]
            if before is not value and not objects.same(before, value):
                _note(changed, removed, elements.of_field(name), _compare(before, value, _field(type, name)))
        else:
            changed[elements.of_field(name)] = fieldset.whole(value, _field(type, name))
    for name, value in old.items():
        if name not in new:
            removed[elements.of_field(name)] = fieldset.whole(value, _field(type, name))
    return Difference(changed or None, removed or None)


def _lists(old: list[Any], new: list[Any], type: schema.Type) -> Difference:
    before, after = _by_element(old, type), _by_element(new, type)
    changed: Set = {}
    removed: Set = {}
    for element, value in after.items():
        if element not in before:
            changed[element] = fieldset.whole(value, type.items)
        elif not objects.same(before[element], value):
            _note(changed, removed, element, _compare(before[element], value, type.items))
    for element, value in before.items():
        if element not in after:
            removed[element] = fieldset.whole(value, type.items)
    return Difference(changed or None, removed or None)


def _by_element(items: list[Any], type: schema.Type) -> dict[str, Any]:
    """Items by element; several with the same keys stand together as one list, a leaf."""
    found: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    for item in items:
        element = elements.of_item(item, type)
        if element is None:
            continue
        if element in found:
            repeated.setdefault(element, [found[element]]).append(item)
        else:
            found[element] = item
    return {**found, **repeated}


def _note(changed: Set, removed: Set, element: str, found: Difference) -> None:
    if found.changed is not None:
        changed[element] = found.changed
    if found.removed is not None:
        removed[element] = found.removed


def _field(type: schema.Type, name: str) -> schema.Type:
    if type.kind == "object":
        return type.fields.get(name, schema.ANY)
    return type.items if type.kind == "map" else schema.ANY
