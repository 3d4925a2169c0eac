"""Lists as sets: sets.contains, sets.equivalent, sets.intersects.

https://pkg.go.dev/github.com/google/cel-go/ext#Sets
"""

from collections.abc import Sequence
from typing import Any

from sampan.cel.functions import LIST_A, Overload
from sampan.cel.types import BOOL
from sampan.cel.values import equal, nodes


def _contains(items: Sequence[Any], part: Sequence[Any]) -> bool:
    return all(any(equal(wanted, item) for item in items) for wanted in part)


def _equivalent(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return _contains(one, other) and _contains(other, one)


def _intersects(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return any(equal(a, b) for a in one for b in other)


def _cost(factor: int) -> Any:
    return lambda args: 1 + len(args[0]) * len(args[1]) * factor + (nodes(args[0]) + nodes(args[1])) // 10


FUNCTIONS: dict[str, list[Overload]] = {
    "sets.contains": [Overload("list_sets_contains_list", (LIST_A, LIST_A), BOOL, _contains, cost=_cost(1))],
    "sets.equivalent": [Overload("list_sets_equivalent_list", (LIST_A, LIST_A), BOOL, _equivalent, cost=_cost(2))],
    "sets.intersects": [Overload("list_sets_intersects_list", (LIST_A, LIST_A), BOOL, _intersects, cost=_cost(1))],
}
