"""Strategic merge patch: a merge patch that knows from the schema which lists are maps by a key.

Directives: `$patch: replace|delete` in a map or list item, `$retainKeys`, `$deleteFromPrimitiveList/f`,
`$setElementOrder/f`. Nothing given is changed.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from collections.abc import Callable
from typing import Any

from sampan.meta import objects, schema
from sampan.meta.patch import json_patch
from sampan.meta.status import ApiError, bad_request

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"

Tree = dict[str, Any]


def apply(old: Tree, patch: Any, type: schema.Type) -> Tree:
    """A new tree: `old` with the patch laid over, list by list as `type` says."""
    if not isinstance(patch, dict):
        raise bad_request("invalid JSON document")
    return _merge_map(old, patch, type)


def _merge_map(old: Tree, patch: Tree, type: schema.Type) -> Tree:
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {k: _clean(v) for k, v in patch.items() if k != _PATCH}
    if directive == "delete":
        return {}
    if directive is not None:
        raise json_patch.refused()
    new = _retained(old, patch)
    for name in _touched(patch):
        _merge_field(new, patch, name, _field(type, name))
    return {k: v if k in patch else objects.copy(v) for k, v in new.items()}


def _retained(old: Tree, patch: Tree) -> Tree:
    if _RETAIN not in patch:
        return dict(old)
    keep = patch[_RETAIN]
    if not isinstance(keep, list) or any(v is not None and k not in keep for k, v in patch.items() if k[:1] != "$"):
        raise bad_request("invalid patch format of retainKeys")
    return {k: v for k, v in old.items() if k in keep}


def _touched(patch: Tree) -> list[str]:
    """The fields that the patch speaks of, by themselves or by a list directive."""
    found: dict[str, None] = {}
    for key in patch:
        if key.startswith((_DELETE_PREFIX, _ORDER_PREFIX)):
            found[key.partition("/")[2]] = None
        elif key not in {_PATCH, _RETAIN}:
            found[key] = None
    return list(found)


def _merge_field(new: Tree, patch: Tree, name: str, type: schema.Type) -> None:
    order = _directive(patch, _ORDER_PREFIX + name)
    doomed = _directive(patch, _DELETE_PREFIX + name)
    if name in patch and patch[name] is None:
        new.pop(name, None)
        return
    old, value = new.get(name), patch.get(name)
    if name not in patch:
        value = []
        if not isinstance(old, list):
            return
    if isinstance(value, dict):
        is_kept = isinstance(old, dict) and type.patch_strategy != "replace"
        new[name] = _merge_map(old if isinstance(old, dict) and is_kept else {}, value, type)
    elif isinstance(value, list) and "merge" in type.patch_strategy.split(","):
        new[name] = _merge_list(old if isinstance(old, list) else [], value, type, _Order(order, doomed))
    elif name in patch:
        new[name] = objects.copy(value)


class _Order:
    """The list directives that go with one field: the wanted order, and primitives to delete."""

    def __init__(self, order: list[Any] | None, doomed: list[Any] | None) -> None:
        self.order = order
        self.doomed = doomed or []


def _merge_list(old: list[Any], patch: list[Any], type: schema.Type, directives: _Order) -> list[Any]:
    is_maps = any(isinstance(item, dict) for item in [*old, *patch])
    if not is_maps:
        left = [item for item in old if item not in directives.doomed]
        merged = left + [item for index, item in enumerate(patch) if item not in left and item not in patch[:index]]
        return _ordered(merged, old, directives.order, lambda item: item)
    key = type.patch_merge_key
    if not key:
        raise json_patch.refused()
    if any(_is_directive(item, "replace") for item in patch):
        return [_clean(item) for item in patch if not _is_directive(item, "replace")]
    merged = _merge_items(old, patch, key, type)
    return _ordered(merged, old, directives.order, lambda item: item.get(key))


def _merge_items(old: list[Any], patch: list[Any], key: str, type: schema.Type) -> list[Any]:
    merged = list(old)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise json_patch.refused()
        at = next((i for i, o in enumerate(merged) if isinstance(o, dict) and o.get(key) == item[key]), None)
        if _is_directive(item, "delete"):
            merged = [o for o in merged if not (isinstance(o, dict) and o.get(key) == item[key])]
        elif at is None:
            merged.append(_merge_map({}, item, type.items))
        else:
            merged[at] = _merge_map(merged[at], item, type.items)
    return [objects.copy(item) for item in merged]


def _ordered(merged: list[Any], old: list[Any], order: list[Any] | None, key: Callable[[Any], Any]) -> list[Any]:
    """The items in the wanted order; those it does not name stay where they were among them."""
    if order is None:
        return merged
    wanted = [o if not isinstance(o, dict) else key(o) for o in order]
    named = sorted((m for m in merged if key(m) in wanted), key=lambda m: wanted.index(key(m)))
    others = [m for m in merged if key(m) not in wanted]
    before = [key(o) for o in old]
    result: list[Any] = []
    while named and others:
        first, other = key(named[0]), key(others[0])
        goes_first = first not in before or (other in before and before.index(first) < before.index(other))
        result.append(named.pop(0) if goes_first or other not in before else others.pop(0))
    return result + named + others


def _directive(patch: Tree, name: str) -> list[Any] | None:
    value = patch.get(name)
    if value is not None and not isinstance(value, list):
        raise _bad_list(name)
    return value


def _bad_list(name: str) -> ApiError:
    what = "primitive list" if name.startswith(_DELETE_PREFIX) else "setElementOrder list"
    return bad_request(f"invalid patch format of {what}")


def _is_directive(item: Any, directive: str) -> bool:
    return isinstance(item, dict) and item.get(_PATCH) == directive


def _clean(value: Any) -> Any:
    """A copy without directives and nulls, for a part of the patch that stands by itself."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if v is not None and not _is_mark(k)}
    if isinstance(value, list):
        return [_clean(item) for item in value if not _is_directive(item, "delete")]
    return value


def _is_mark(key: str) -> bool:
    return key in {_PATCH, _RETAIN} or key.startswith((_DELETE_PREFIX, _ORDER_PREFIX))


def _field(type: schema.Type, name: str) -> schema.Type:
    return type.fields.get(name) or (type.items if type.kind == "map" else schema.ANY)
