"""The order of the paths in a field set: as upstream writes them, so that the same set is the same text.

The thing itself first, then fields by name, list items by their keys, members of sets by value, and what has a number.
"""

from functools import lru_cache
from typing import Any

import orjson

Set = dict[str, Any]

_FIELDS_END = "f;"  # after every f:name
_TYPES = {int: 0, float: 0, str: 1, bool: 2, list: 3, dict: 4}


def ordered(node: Set) -> Set:
    """The same set with its paths in order: the very one where they are."""
    paths = sorted(node)
    if paths and paths[-1] > _FIELDS_END:
        paths.sort(key=_rank)
    made, is_same = {}, paths == list(node)
    for path in paths:
        below = node[path]
        if below:
            made[path] = ordered(below)
            is_same = is_same and made[path] is below
        else:
            made[path] = below
    return node if is_same else made


@lru_cache(4096)
def _rank(path: str) -> tuple[Any, ...]:
    kind, rest = path[:1], path[2:]
    try:
        if kind == "k":
            return (2, [(name, *_value(value)) for name, value in sorted(orjson.loads(rest).items())])
        if kind == "v":
            return (3, *_value(orjson.loads(rest)))
        if kind == "i":
            return (4, int(rest))
    except (ValueError, AttributeError):  # no path of upstream's
        return (5, path)
    return ({".": 0, "f": 1}.get(kind, 5), rest)


def _value(value: Any) -> tuple[int, Any]:
    """Numbers before texts before all others."""
    rank = _TYPES.get(type(value), 5)
    return rank, value if rank < 3 else orjson.dumps(value).decode()
