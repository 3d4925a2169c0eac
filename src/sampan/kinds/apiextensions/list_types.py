"""Lists of type set and map hold no item twice.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

import json
from collections.abc import Iterator
from typing import Any

from sampan.kinds.apiextensions.values import below
from sampan.meta.status import Cause, duplicate, invalid_value

Node = dict[str, Any]


def causes(value: Any, node: Node | None, path: str = "") -> list[Cause]:
    """A cause for each item that is there again."""
    return list(_causes(value, node, path))


def _causes(value: Any, node: Node | None, path: str) -> Iterator[Cause]:
    if node is None:
        return
    if isinstance(value, dict):
        named = node.get("properties") or {}
        for key, item in value.items():
            where = f"{path}[{key}]" if key not in named else f"{path}.{key}" if path else key
            yield from _causes(item, below(node, key), where)
    elif isinstance(value, list):
        yield from _repeated(value, node, path)
        for index, item in enumerate(value):
            yield from _causes(item, node.get("items"), f"{path}[{index}]")


def _repeated(value: list[Any], node: Node, path: str) -> Iterator[Cause]:
    kind = node.get("x-kubernetes-list-type")
    if kind == "set":
        for index in _again(value):
            yield duplicate(f"{path}[{index}]", value[index])
    elif kind == "map":
        for index, item in enumerate(value):
            if item is not None and not isinstance(item, dict):
                text = "must be an object for an array of list-type map"
                yield invalid_value(f"{path}[{index}]", item, text)
                return
        names = node.get("x-kubernetes-list-map-keys") or ()
        keys = [{name: item[name] for name in names if name in item} if item else {} for item in value]
        for index in _again(keys):
            yield duplicate(f"{path}[{index}]", keys[index])


def _again(items: list[Any]) -> Iterator[int]:
    """Indices of second appearances."""
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        text = json.dumps(item, sort_keys=True)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            yield index
