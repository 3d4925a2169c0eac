"""Strategic merge patch: a merge patch that knows from the schema which lists are maps by a key.

Directives: `$patch: replace|delete` in a map or list item, `$retainKeys`, `$deleteFromPrimitiveList/f`,
`$setElementOrder/f`. Nothing given is changed.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

import orjson

from sampan.meta import go_text, schema
from sampan.meta.status import ApiError, bad_request, failure

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"
_GONE = object()
_CONTAINERS = (dict, list)

Tree = dict[str, Any]


def apply(old: Tree, patch: Any, type: schema.Type) -> Tree:
    """A new tree: `old` with the patch laid over, list by list as `type` says; it shares what it can with both."""
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
        raise _broken(f"unknown patch type: {go_text.text(directive)} in map: {go_text.text(patch)}")
    fields, other = type.fields, type.items if type.kind == "map" else schema.ANY
    directives = [key for key in patch if key[:1] == "$"]
    if not directives:  # as mostly
        new = dict(old)
        for name, value in patch.items():
            if value is not None and not isinstance(value, _CONTAINERS):
                new[name] = value
            else:
                _merge_field(new, name, value, fields.get(name) or other, _AS_THEY_ARE)
        return new
    new, directed = _retained(old, patch), {key.partition("/")[2] for key in directives}
    for name in _touched(patch):
        field, order = fields.get(name) or other, _AS_THEY_ARE
        if name in directed:
            order = _Order(_directive(patch, _ORDER_PREFIX + name), _directive(patch, _DELETE_PREFIX + name))
        if name in patch:
            _merge_field(new, name, patch[name], field, order)
        elif isinstance(new.get(name), list) and _is_merged(field):
            _merge_field(new, name, [], field, order)
    return new


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


class _Order:
    """The list directives that go with one field: the wanted order, and primitives to delete."""

    def __init__(self, order: list[Any] | None, doomed: list[Any] | None) -> None:
        self.order = order
        self.doomed = doomed or []


_AS_THEY_ARE = _Order(None, None)


def _merge_field(new: Tree, name: str, value: Any, type: schema.Type, order: _Order) -> None:
    if value is None:
        new.pop(name, None)
    elif isinstance(value, dict):
        old = new.get(name)
        is_kept = isinstance(old, dict) and type.patch_strategy != "replace"
        new[name] = _merge_map(old if isinstance(old, dict) and is_kept else {}, value, type)
    elif isinstance(value, list) and _is_merged(type):
        old = new.get(name)
        new[name] = _merge_list(old, value, type, order) if isinstance(old, list) else _fresh(value, type, order)
    else:
        new[name] = value


def _fresh(patch: list[Any], type: schema.Type, directives: "_Order") -> list[Any]:
    """A list that was not there is taken as it is, whether or not its items have their key."""
    items = [_clean(item) for item in patch if not (_is_directive(item, "delete") or _is_directive(item, "replace"))]
    key = type.patch_merge_key
    return _ordered(items, [], directives.order, lambda item: item.get(key) if isinstance(item, dict) else item)


def _is_merged(type: schema.Type) -> bool:
    return "merge" in type.patch_strategy.split(",")


def _merge_list(old: list[Any], patch: list[Any], type: schema.Type, directives: _Order) -> list[Any]:
    one_of_each = {item.__class__: item for item in (*old, *patch)}
    kinds = {go_text.kind(item) for item in one_of_each.values()}
    if len(kinds) > 1:
        raise _broken(f"list element types are not identical: {go_text.text([old, patch])}")
    if kinds != {"map"}:
        _check_order(patch, directives.order, "")
        doomed = {_mark(item) for item in directives.doomed}
        left = [item for item in _by_mark(old).values() if _mark(item) not in doomed]
        known = {_mark(item) for item in left}
        merged = left + [item for mark, item in _by_mark(patch).items() if mark not in known]
        return _in_order(merged, old, [patch, directives.order], "")
    key = type.patch_merge_key
    if not key:
        raise _broken(f"cannot merge lists without merge key for type {type.items.kind}")
    _check_order(patch, directives.order, key)
    if any(_is_directive(item, "merge") for item in patch):
        raise _broken("merging lists cannot yet be specified in the patch")
    if any(_is_directive(item, "replace") for item in patch):
        return [_clean(item) for item in patch if not _is_directive(item, "replace")]
    merged, given = _merge_items(old, patch, key, type), [item for item in patch if not _is_directive(item, "delete")]
    if len(given) < len(patch) and given:
        doomed = {_mark(item[key]) for item in patch if _is_directive(item, "delete")}
        left = [item for item in old if _mark(item.get(key)) not in doomed]
        merged = _in_order(merged, left, [given], key)
        given = []
    return _in_order(merged, old, [given, directives.order], key)


def _in_order(merged: list[Any], old: list[Any], orders: list[list[Any] | None], key: str) -> list[Any]:
    """The items as the patch has them, then as its wish for an order has them: what is new comes first."""
    for order in orders:
        if order:
            merged = _ordered(merged, old, order, (lambda item: item.get(key)) if key else lambda item: item)
    return merged


def _check_order(patch: list[Any], order: list[Any] | None, key: str) -> None:
    """The items of a patch must come in the order that it wishes for."""
    if not order:
        return
    at = iter(_key_of(item, key) for item in order)
    for item in patch:
        if not (key and _PATCH in item) and _key_of(item, key) not in at:
            told = f"{go_text.text(patch)}\n doesn't match $setElementOrder list:\n{go_text.text(order)}\n"
            raise _broken(f"The order in patch list:\n{told}")


def _key_of(item: Any, key: str) -> Any:
    if not key:
        return item
    if not isinstance(item, dict) or key not in item:
        raise _broken(f"map: {go_text.text(item)} does not contain declared merge key: {key}")
    return item[key]


def _merge_items(old: list[Any], patch: list[Any], key: str, type: schema.Type) -> list[Any]:
    merged: list[Any] = list(old)
    places: dict[Hashable, list[int]] = {}
    for index, item in enumerate(old):
        if isinstance(item, dict):
            places.setdefault(_mark(item.get(key)), []).append(index)
    for item in patch:
        mark = _mark(_key_of(item, key))
        here = places.get(mark)
        if _is_directive(item, "delete"):
            for index in places.pop(mark, ()):
                merged[index] = _GONE
        elif here:
            merged[here[0]] = _merge_map(merged[here[0]], item, type.items)
        else:
            places[mark] = [len(merged)]
            merged.append(_merge_map({}, item, type.items))
    return [item for item in merged if item is not _GONE]


def _ordered(merged: list[Any], old: list[Any], order: list[Any] | None, key: Callable[[Any], Any]) -> list[Any]:
    """The items in the wanted order; those it does not name stay where they were among them."""
    if order is None:
        return merged
    wanted = _places([o if not isinstance(o, dict) else key(o) for o in order])
    marked = [(_mark(key(m)), m) for m in merged]
    if [mark for mark, _ in marked] == list(wanted):
        return merged
    named = deque(sorted((pair for pair in marked if pair[0] in wanted), key=lambda pair: wanted[pair[0]]))
    others = deque(pair for pair in marked if pair[0] not in wanted)
    before = _places([key(o) for o in old])
    result: list[Any] = []
    while named and others:
        first, other = named[0][0], others[0][0]
        goes_first = first not in before or other not in before or before[first] < before[other]
        result.append((named if goes_first else others).popleft()[1])
    return [*result, *(item for _, item in named), *(item for _, item in others)]


def _mark(value: Any) -> Hashable:
    """A value as a key: equal marks for equal values, and the other way round."""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    found: Hashable = value
    return found


def _by_mark(items: list[Any]) -> dict[Hashable, Any]:
    found: dict[Hashable, Any] = {}
    for item in items:
        found.setdefault(_mark(item), item)
    return found


def _places(values: list[Any]) -> dict[Hashable, int]:
    """Where each value comes first."""
    found: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        found.setdefault(_mark(value), index)
    return found


def _directive(patch: Tree, name: str) -> list[Any] | None:
    value = patch.get(name)
    if value is not None and not isinstance(value, list):
        raise _bad_list(name)
    return value


def _broken(text: str) -> ApiError:
    """500, as upstream answers what its own reading of a patch has no words for."""
    return failure(500, "", text)


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
