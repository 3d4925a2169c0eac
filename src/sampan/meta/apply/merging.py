"""Merging: an applied configuration laid over the live object, and what it no longer says taken out.

Lists of type set and map merge item by item, in the configuration's order; atomic ones are replaced.
"""

from typing import Any

from sampan.meta import schema
from sampan.meta.apply import elements, fieldset

Set = fieldset.Set


def merge(live: Any, config: Any, type: schema.Type) -> Any:
    """A tree that shares what it can with both: `live` with `config` over it. Nulls of the configuration remove."""
    if isinstance(config, dict) and type.kind in {"object", "map", "any"}:
        new = dict(live) if isinstance(live, dict) and type.map_type != "atomic" else {}
        for name, value in config.items():
            if value is None:
                new.pop(name, None)
            else:
                new[name] = merge(new.get(name), value, _field(type, name))
        return new
    if isinstance(config, list) and isinstance(live, list) and type.kind == "array" and type.list_type != "atomic":
        return _merge_lists(live, config, type)
    return config


def _merge_lists(live: list[Any], config: list[Any], type: schema.Type) -> list[Any]:
    """Items only the live list has keep their place between those that both have."""
    mine = [(elements.of_item(item, type), item) for item in live]
    theirs = [(elements.of_item(item, type), item) for item in config]
    before = {element: item for element, item in mine if element is not None}
    wanted = {element for element, _ in theirs}
    result: list[Any] = []
    position = 0
    for element, item in theirs:
        if element in before:
            at = next((i for i in range(position, len(mine)) if mine[i][0] == element), None)
            if at is not None:
                result += [other for key, other in mine[position:at] if key not in wanted]
                position = at + 1
            result.append(merge(before[element], item, type.items))
        else:
            while position < len(mine) and mine[position][0] not in wanted:
                result.append(mine[position][1])
                position += 1
            result.append(merge(None, item, type.items))
    return result + [other for key, other in mine[position:] if key not in wanted]


def remove(value: Any, doomed: Set, kept: Set | None, type: schema.Type) -> Any:
    """`value` without the paths in `doomed` that `kept` does not hold, nor anything below them."""
    if isinstance(value, dict):
        return {
            name: _remaining(child, f"f:{name}", (doomed, kept), _field(type, name))
            for name, child in value.items()
            if not (_is_gone(f"f:{name}", doomed, kept) and _was_owned(name, child, type))
        }
    if isinstance(value, list) and type.kind == "array" and type.list_type != "atomic":
        marked = [(elements.of_item(item, type) or "", item) for item in value]
        return [
            _remaining(item, element, (doomed, kept), type.items)
            for element, item in marked
            if not _is_gone(element, doomed, kept)
        ]
    return value


def _was_owned(name: str, value: Any, type: schema.Type) -> bool:
    """Whether an applier can own what is here: a declared field that holds, say, an empty list is nobody's."""
    if type.kind != "object" or name not in type.fields:
        return True  # the name itself is owned
    return value == {} or fieldset.applied(value, type.fields[name]) is not None


def _is_gone(element: str, doomed: Set, kept: Set | None) -> bool:
    return element in doomed and (kept is None or element not in kept)


def _remaining(value: Any, element: str, sets: tuple[Set, Set | None], type: schema.Type) -> Any:
    doomed, kept = sets
    below = doomed.get(element)
    return remove(value, below, (kept or {}).get(element), type) if below else value


def _field(type: schema.Type, name: str) -> schema.Type:
    if type.kind == "object":
        return type.fields.get(name, schema.ANY)
    return type.items if type.kind == "map" else schema.ANY
