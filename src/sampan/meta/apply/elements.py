"""Path elements: how one step into an object is written in managedFields.

`f:name` a field or map key, `k:{"name":"x"}` a list item by its keys, `v:"x"` a set's member, `.` the
thing itself.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

import json
from functools import lru_cache
from types import NoneType
from typing import Any

import orjson

from sampan.kit.texts import LONGEST, Texts
from sampan.meta import schema

# Keys of built-in list items that upstream's schema defaults; the published document does not carry them.
_KEY_DEFAULTS: dict[str, Any] = {"protocol": "TCP"}


of_field = Texts(lambda name: f"f:{name}", 4096).__getitem__
"""The element of a field or map key: one text for all who have it, whose hash is known already."""


def of_item(item: Any, type: schema.Type) -> str | None:
    """The element of an item of a set or map list; None when it lacks all of its keys."""
    if type.list_type == "set":
        return f"v:{_MEMBERS[item] if isinstance(item, str) else _dumps(item)}"
    if not isinstance(item, dict):
        return None
    keys = type.list_map_keys
    if len(keys) == 1:
        value = item.get(keys[0])
        if isinstance(value, str) and len(value) <= LONGEST:
            return _one_key(keys[0], value)
    if all(item.get(key) is None for key in keys):
        return None
    found = {key: _key_value(item, key, type) for key in sorted(keys)}
    return f"k:{_dumps({key: value for key, value in found.items() if value is not None})}"


def misfit(item: Any, type: schema.Type) -> str:
    """Why an item can be no member of a set or map list, in upstream's words; "" when it can."""
    if type.list_type == "set":
        return next((why for shape, why in _NO_MEMBERS.items() if isinstance(item, shape)), "")
    if not isinstance(item, dict):
        return f"associative list with keys may not have {'a null element' if item is None else 'non-map elements'}"
    if any(_key_value(item, key, type) is not None for key in type.list_map_keys):
        return ""
    keys = " ".join(f'"{key}"' for key in type.list_map_keys)
    why = "(and doesn't have default values for any key fields)"
    return f"associative list with keys has an element that omits all key fields [{keys}] {why}"


_NO_MEMBERS: dict[type, str] = {
    dict: "associative list without keys has an element that's a map type",
    list: "not supported: associative list with lists as elements",
    NoneType: "associative list without keys has an element that's an explicit null",
}


def _key_value(item: dict[str, Any], key: str, type: schema.Type) -> Any:
    """A list item's key, or what its schema says in its place."""
    value = item.get(key)
    if value is not None:
        return value
    items = type.items
    if items.name:
        return _KEY_DEFAULTS.get(key)
    field = items.fields.get(key)
    return None if field is None else field.node.get("default")


def show(element: str) -> str:
    """The element as paths in messages have it: .spec, [name="x"], [="x"], [3]."""
    mark, _, rest = element.partition(":")
    match mark:
        case "f":
            return f".{rest}"
        case "v":
            return f"[={rest}]"
        case "i":
            return f"[{rest}]"
        case _:
            return f"[{','.join(f'{key}={_dumps(value)}' for key, value in sorted(json.loads(rest).items()))}]"


def is_valid(element: str) -> bool:
    """Whether a text that a client sent is a path element."""
    mark, colon, rest = element.partition(":")
    if not colon or mark not in {"f", "k", "v", "i"}:
        return False
    try:
        value = None if mark == "f" else json.loads(rest)
    except ValueError:
        return False
    return {"f": True, "v": True, "k": isinstance(value, dict), "i": isinstance(value, int)}[mark]


@lru_cache(maxsize=1024)
def _one_key(key: str, value: str) -> str:
    return f"k:{_dumps({key: value})}"


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


_MEMBERS = Texts(_dumps, 1024)
