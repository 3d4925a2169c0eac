"""Lists: isSorted, sum, min, max, indexOf, lastIndexOf.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-list-library
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sampan.cel.functions import LIST_A, A, Overload
from sampan.cel.library.standard import unsigned, whole
from sampan.cel.times import span
from sampan.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, Type, list_of
from sampan.cel.values import EvaluationError, equal

_COMPARABLE = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)
_MANY = 10_000_000


def traversal(value: Any) -> int:
    """The cost of going through a whole value."""
    if isinstance(value, str | bytes):
        return len(value) // 10
    if isinstance(value, Mapping):
        return sum(traversal(k) + traversal(v) for k, v in value.items())
    if isinstance(value, Sequence):
        if len(value) > _MANY:
            return len(value)
        return sum(traversal(item) for item in value)
    return 1


def _cost(args: Sequence[Any]) -> int:
    return traversal(args[0])


def _is_sorted(items: Sequence[Any]) -> bool:
    return all(not later < earlier for earlier, later in pairwise(items))


def _extreme(name: str, choose: Callable[[Sequence[Any]], Any]) -> Callable[[Sequence[Any]], Any]:
    def run(items: Sequence[Any]) -> Any:
        if not len(items):
            raise EvaluationError(f"{name} called on empty list")
        return choose(items)

    return run


def _index_of(items: Sequence[Any], item: Any) -> int:
    return next((i for i, other in enumerate(items) if equal(item, other)), -1)


def _last_index_of(items: Sequence[Any], item: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if equal(item, items[i])), -1)


def _each(name: str, run: Callable[..., Any], result: Type | None = None) -> list[Overload]:
    return [Overload(f"list_{t.kind}_{name}", (list_of(t),), result or t, run, True, _cost) for t in _COMPARABLE]


def _sum(type_: Type, run: Callable[..., Any]) -> Overload:
    return Overload(f"list_{type_.kind}_sum", (list_of(type_),), type_, run, True, _cost)


FUNCTIONS: dict[str, list[Overload]] = {
    "isSorted": _each("is_sorted", _is_sorted, BOOL),
    "sum": [
        _sum(INT, lambda items: whole(sum(items))),
        _sum(UINT, lambda items: unsigned(sum(items))),
        _sum(DOUBLE, lambda items: sum(items, 0.0)),
        _sum(DURATION, lambda items: span(sum(d.nanos for d in items))),
    ],
    "min": _each("min", _extreme("min", min)),
    "max": _each("max", _extreme("max", max)),
    "indexOf": [Overload("list_a_index_of", (LIST_A, A), INT, _index_of, True, _cost)],
    "lastIndexOf": [Overload("list_a_last_index_of", (LIST_A, A), INT, _last_index_of, True, _cost)],
}
