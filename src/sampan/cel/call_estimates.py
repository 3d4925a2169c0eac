"""What a call can cost and how large its result can be, from the sizes of its arguments.

https://kubernetes.io/docs/reference/using-api/cel/#cost-limits
"""

from collections.abc import Callable
from typing import Protocol

from sampan.cel import types
from sampan.cel.ranges import MOST, ONE, UNKNOWN, Range, add, fixed, scaled, tenth, times, union
from sampan.cel.syntax import Call, Const, Node

_CHECK_COST = 350_000
_FORMAT_PATTERN = 128


class Sizes(Protocol):
    """What is known of the sizes of values."""

    def size(self, node: Node) -> Range:
        """The size of a node's value."""

    def entry(self, node: Node) -> Range | None:
        """The size of its elements, when known."""


Estimate = tuple[Range, Range | None]


def estimate(sizes: Sizes, node: Call) -> Estimate:
    """The call's own cost, without its arguments', and its result's size when that is known."""
    rule = _RULES.get(node.function)
    found = None if rule is None else rule(sizes, node)
    if found is not None:
        return found
    operator = _OPERATORS.get(node.function)
    if operator is None:
        return ONE, None
    return operator(sizes, node, {overload.id for overload in node.overloads})


def _compared(sizes: Sizes, node: Call, ids: set[str]) -> Estimate:
    if node.args[0].type.kind == "opaque":
        return ONE, None
    if node.function not in {"_==_", "_!=_"} and not any(i.endswith(("_string", "_bytes")) for i in ids):
        return ONE, None
    most = min(sizes.size(argument)[1] for argument in node.args)
    cost = tenth((1 if most else 0, most))
    return (cost if len(ids) == 1 else union(cost, ONE)), None


def _added(sizes: Sizes, node: Call, ids: set[str]) -> Estimate:
    if not ids & {"add_string", "add_bytes", "add_list"}:
        return ONE, None
    size = add(sizes.size(node.args[0]), sizes.size(node.args[1]))
    if ids == {"add_list"}:
        return ONE, size
    cost = tenth(size)
    return (cost if len(ids) == 1 else union(cost, ONE)), size


def _contained(sizes: Sizes, node: Call, ids: set[str]) -> Estimate:
    if "in_list" not in ids:
        return ONE, None
    size = sizes.size(node.args[1])
    return (size if len(ids) == 1 else union(size, ONE)), None


def _indexed(sizes: Sizes, node: Call, ids: set[str]) -> Estimate:
    return ONE, sizes.entry(node.args[0])


_OPERATORS: dict[str, Callable[[Sizes, Call, set[str]], Estimate]] = {
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), _compared),
    "_+_": _added,
    "@in": _contained,
    "_[_]": _indexed,
    "_[?_]": _indexed,
}


def _target(sizes: Sizes, node: Call) -> Range:
    return UNKNOWN if node.target is None else sizes.size(node.target)


def _nominal(sizes: Sizes, node: Call) -> Estimate | None:
    return ONE, None


def _check(sizes: Sizes, node: Call) -> Estimate | None:
    return fixed(_CHECK_COST), None


def _list_scan(sizes: Sizes, node: Call) -> Estimate | None:
    if node.target is None:
        return None
    size = sizes.size(node.target)
    if node.target.type.kind != "list":
        return tenth(size), None
    item = node.target.type.params[0]
    each = ONE
    if item.kind in {"string", "bytes"}:
        known = sizes.entry(node.target)
        length = UNKNOWN if item.max_size is None else (0, item.max_size)
        each = add(ONE, tenth(length if known is None else known))
    return times(size, each), None


def _parsed(sizes: Sizes, node: Call) -> Estimate | None:
    return tenth(sizes.size(node.args[0])), None


def _first_argument(sizes: Sizes, node: Call) -> Estimate | None:
    return (tenth(sizes.size(node.args[0])), None) if len(node.args) == 1 else None


def _twice(sizes: Sizes, node: Call) -> Estimate | None:
    return scaled(sizes.size(node.args[0]), 2, 10), None


def _selector(sizes: Sizes, node: Call) -> Estimate | None:
    size = sizes.size(node.args[0])
    return add(fixed(10), add(times(scaled(size, 1, 2), fixed(50)), tenth(size))), None


def _same_size(sizes: Sizes, node: Call) -> Estimate | None:
    size = _target(sizes, node)
    return tenth(size), size


def _replace(sizes: Sizes, node: Call) -> Estimate | None:
    size, old, new = _target(sizes, node), sizes.size(node.args[0]), sizes.size(node.args[1])
    most = _replaced(size[1], old[0], new[1], grows=new[1] > old[0])
    least = _replaced(size[0], old[1], new[0], grows=old[1] > new[0])
    return scaled(size, 2, 10), (least, most)


def _replaced(size: int, old: int, new: int, *, grows: bool) -> int:
    if not old:
        count, kept = (size + 1 if size < MOST else size), size
    elif not grows:
        count, kept = 0, size
    else:
        count, kept = -(-size // old), 0
    return min(count * new + kept, MOST)


def _split(sizes: Sizes, node: Call) -> Estimate | None:
    size = _target(sizes, node)
    most = size[1]
    if len(node.args) > 1 and isinstance(node.args[1], Const) and node.args[1].value >= 0:
        most = node.args[1].value
    return scaled(size, 2, 10), (0, most)


def _join(sizes: Sizes, node: Call) -> Estimate | None:
    if node.target is None:
        return None
    count = sizes.size(node.target)
    item = node.target.type.params[0] if node.target.type.kind == "list" else types.DYN
    known = sizes.entry(node.target)
    length = known or (UNKNOWN if item.max_size is None else (0, item.max_size))
    size = times(count, length)
    if node.args:
        separators = (max(count[0] - 1, 0), max(count[1] - 1, 0))
        size = add(size, times(sizes.size(node.args[0]), separators))
    return tenth(size), size


def _pattern_cost(size: Range, pattern: Range) -> Range:
    return times(tenth(add(size, ONE)), scaled(pattern, 1, 4))


def _find(sizes: Sizes, node: Call) -> Estimate | None:
    size = _target(sizes, node)
    return _pattern_cost(size, sizes.size(node.args[0])), (0, size[1])


def _matches(sizes: Sizes, node: Call) -> Estimate | None:
    return (_pattern_cost(_target(sizes, node), sizes.size(node.args[0])), None) if node.target is not None else None


def _contains(sizes: Sizes, node: Call) -> Estimate | None:
    return times(tenth(_target(sizes, node)), tenth(sizes.size(node.args[0]))), None


def _affix(sizes: Sizes, node: Call) -> Estimate | None:
    return tenth(sizes.size(node.args[0])), None


def _range_check(node: Call, sizes: Sizes, *, whole: bool) -> Estimate:
    size = (4, 16)
    cost = tenth(add(size, size))
    if whole:
        cost = add(add(cost, tenth(size)), ONE)
    if any(overload.id.endswith("_string") for overload in node.overloads):
        cost = add(cost, tenth(sizes.size(node.args[0])))
    return cost, None


def _validate(sizes: Sizes, node: Call) -> Estimate | None:
    return scaled(tenth(sizes.size(node.args[0])), _FORMAT_PATTERN, 4), None


def _to_bytes(sizes: Sizes, node: Call) -> Estimate | None:
    if node.args[0].type.kind == "bytes":
        return ONE, sizes.size(node.args[0])
    size = sizes.size(node.args[0])
    return tenth(size), (size[0], min(size[1] * 4, MOST))


def _to_string(sizes: Sizes, node: Call) -> Estimate | None:
    if node.args[0].type.kind == "string":
        return ONE, sizes.size(node.args[0])
    if node.args[0].type.kind != "bytes":
        return None
    size = sizes.size(node.args[0])
    return tenth(size), (size[0] // 4, size[1])


def _quote(sizes: Sizes, node: Call) -> Estimate | None:
    size = sizes.size(node.args[0])
    return tenth(size), (size[0] + 2, min(size[1] * 2 + 2, MOST))


def _format(sizes: Sizes, node: Call) -> Estimate | None:
    return tenth(_target(sizes, node)), None


def _sets(factor: int) -> Callable[[Sizes, Call], Estimate | None]:
    def rule(sizes: Sizes, node: Call) -> Estimate | None:
        product = times(sizes.size(node.args[0]), sizes.size(node.args[1]))
        return add(scaled(product, factor, 1), ONE), None

    return rule


_RULES: dict[str, Callable[[Sizes, Call], Estimate | None]] = {
    "check": _check,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _list_scan),
    **dict.fromkeys(("url", "ip", "isIP", "cidr", "isCIDR", "quantity", "isQuantity"), _first_argument),
    **dict.fromkeys(("semver", "isSemver", "jsonpatch.escapeKey"), _parsed),
    "ip.isCanonical": _twice,
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _same_size),
    "replace": _replace,
    "split": _split,
    "join": _join,
    **dict.fromkeys(("find", "findAll"), _find),
    "matches": _matches,
    "contains": _contains,
    **dict.fromkeys(("startsWith", "endsWith"), _affix),
    "containsIP": lambda sizes, node: _range_check(node, sizes, whole=False),
    "containsCIDR": lambda sizes, node: _range_check(node, sizes, whole=True),
    "validate": _validate,
    "format.named": _nominal,
    "bytes": _to_bytes,
    "string": _to_string,
    "strings.quote": _quote,
    "format": _format,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}
