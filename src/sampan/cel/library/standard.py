"""CEL's operators and standard functions: arithmetic, comparison, indexing, size, matches, parts of a date.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.cel import regex, shown, times
from sampan.cel.functions import LIST_A, MAP_AB, A, B, Overload, size_of, tenth
from sampan.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, Type, optional_of
from sampan.cel.values import (
    MAX_INT,
    MIN_INT,
    NONE,
    Concatenation,
    Duration,
    EvaluationError,
    ListView,
    Optional,
    Timestamp,
    UInt,
    equal,
    nodes,
)

_MAX_UINT = (1 << 64) - 1


def whole(value: int) -> int:
    """An int that fits 64 bits."""
    if MIN_INT <= value <= MAX_INT:
        return value
    raise EvaluationError("integer overflow")


def unsigned(value: int) -> UInt:
    """A uint that fits 64 bits."""
    if 0 <= value <= _MAX_UINT:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return whole(quotient if (left < 0) == (right < 0) else -quotient)


def _modulo(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return left - right * _divide(left, right)


def _divide_unsigned(left: int, right: int) -> UInt:
    if right == 0:
        raise EvaluationError("division by zero")
    return UInt(left // right)


def _modulo_unsigned(left: int, right: int) -> UInt:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return UInt(left % right)


def _divide_double(left: float, right: float) -> float:
    if right:
        return left / right
    if not left or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _concatenate(left: Any, right: Any) -> Any:
    if isinstance(left, ListView):
        return left.merged(right)
    return Concatenation(left, right)


def _sum_cost(args: Sequence[Any]) -> int:
    return tenth(len(args[0]) + len(args[1]))


def _least_cost(args: Sequence[Any]) -> int:
    return tenth(min(size_of(args[0]), size_of(args[1])))


def _equality_cost(args: Sequence[Any]) -> int:
    one, other = args
    cost = tenth(min(size_of(one), size_of(other)))
    if isinstance(one, str | bytes) or not isinstance(one, Sequence | Mapping):
        return cost
    # Deep trees are charged in full: what is compared has to be paid for.
    return max(cost, nodes(one) // 10)


def _index_list(items: Sequence[Any], index: Any) -> Any:
    if type(index) is float:
        if index != int(index):
            raise EvaluationError(f"unsupported index value {shown.text(index)} in list")
        index = int(index)
    if 0 <= index < len(items):
        return items[index]
    raise EvaluationError(f"index out of bounds: {index}")


def _index_map(entries: Mapping[Any, Any], key: Any) -> Any:
    try:
        if type(key) is str or _in_map(key, entries):
            return entries[key]
    except KeyError:
        pass
    raise EvaluationError(f"no such key: {shown.text(key)}")


def _maybe_list(items: Sequence[Any], index: int) -> Optional:
    return Optional(items[index]) if 0 <= index < len(items) else NONE


def _maybe_map(entries: Mapping[Any, Any], key: Any) -> Optional:
    return Optional(entries[key]) if _in_map(key, entries) else NONE


def _maybe_in(container: Optional, key: Any) -> Optional:
    if not container.present:
        return NONE
    value = container.value
    return _maybe_map(value, key) if isinstance(value, Mapping) else _maybe_list(value, key)


def _in_list(item: Any, items: Sequence[Any]) -> bool:
    return any(equal(item, other) for other in items)


def _in_map(key: Any, entries: Mapping[Any, Any]) -> bool:
    try:
        return key in entries
    except TypeError:  # a list, or a map
        return False


def _binary(name: str, type_: Type, run: Callable[..., Any], result: Type | None = None) -> Overload:
    return Overload(f"{name}_{type_.kind}", (type_, type_), result or type_, run)


def _comparisons(name: str, compare: Callable[[Any, Any], bool]) -> list[Overload]:
    found = [_binary(name, t, compare, BOOL) for t in (INT, UINT, DOUBLE, TIMESTAMP, DURATION, BOOL)]
    found += [Overload(f"{name}_{t.kind}", (t, t), BOOL, compare, cost=_least_cost) for t in (STRING, BYTES)]
    numbers = (INT, UINT, DOUBLE)
    found += [
        Overload(f"{name}_{a.kind}_{b.kind}", (a, b), BOOL, compare) for a in numbers for b in numbers if a is not b
    ]
    return found


def _differ(left: Any, right: Any) -> bool:
    return not equal(left, right)


def _negate(value: int) -> int:
    return whole(-value)


def _size(value: Any) -> int:
    return len(value)


def _matches(text: str, pattern: str) -> bool:
    return regex.compiled(pattern).search(text)


def matches_cost(args: Sequence[Any]) -> int:
    """What matching args[0] against the pattern args[1] costs."""
    return tenth(len(args[0]) + 1) * -(-len(args[1]) // 4)


def _contains_cost(args: Sequence[Any]) -> int:
    return tenth(len(args[0])) * tenth(len(args[1]))


def _prefix_cost(args: Sequence[Any]) -> int:
    return tenth(len(args[0]))


def _list_cost(args: Sequence[Any]) -> int:
    return max(len(args[1]), nodes(args[1]) // 10)


def _day_of_week(moment: Timestamp, zone: str | None) -> int:
    return times.at_zone(moment, zone).isoweekday() % 7


_PARTS: dict[str, Callable[[Timestamp, str | None], int]] = {
    "getFullYear": lambda t, z: times.at_zone(t, z).year,
    "getMonth": lambda t, z: times.at_zone(t, z).month - 1,
    "getDayOfYear": lambda t, z: times.at_zone(t, z).timetuple().tm_yday - 1,
    "getDayOfMonth": lambda t, z: times.at_zone(t, z).day - 1,
    "getDate": lambda t, z: times.at_zone(t, z).day,
    "getDayOfWeek": _day_of_week,
    "getHours": lambda t, z: times.at_zone(t, z).hour,
    "getMinutes": lambda t, z: times.at_zone(t, z).minute,
    "getSeconds": lambda t, z: times.at_zone(t, z).second,
    "getMilliseconds": lambda t, z: t.nanos // 10**6 % 1000,
}
_SPANS = {"getHours": 3600 * times.SECOND, "getMinutes": 60 * times.SECOND, "getSeconds": times.SECOND}


def _truncate(value: int, unit: int) -> int:
    return value // unit if value >= 0 else -(-value // unit)


def _part(name: str, run: Callable[[Timestamp, str | None], int]) -> list[Overload]:
    found = [
        Overload(f"timestamp_{name}", (TIMESTAMP,), INT, lambda t: run(t, None), member=True),
        Overload(f"timestamp_{name}_tz", (TIMESTAMP, STRING), INT, run, member=True),
    ]
    if name in _SPANS:
        unit = _SPANS[name]
        run_span: Callable[[Duration], int] = lambda d: _truncate(d.nanos, unit)  # noqa: E731
        found.append(Overload(f"duration_{name}", (DURATION,), INT, run_span, member=True))
    elif name == "getMilliseconds":
        millis: Callable[[Duration], int] = lambda d: _truncate(d.nanos, 10**6)  # noqa: E731
        found.append(Overload(f"duration_{name}", (DURATION,), INT, millis, member=True))
    return found


def _add_moment(moment: Timestamp, span: Duration) -> Timestamp:
    return times.moved(moment, span.nanos)


_PLUS = [
    _binary("add", INT, lambda a, b: whole(a + b)),
    _binary("add", UINT, lambda a, b: unsigned(a + b)),
    _binary("add", DOUBLE, operator.add),
    Overload("add_string", (STRING, STRING), STRING, operator.add, cost=_sum_cost),
    Overload("add_bytes", (BYTES, BYTES), BYTES, operator.add, cost=_sum_cost),
    Overload("add_list", (LIST_A, LIST_A), LIST_A, _concatenate),
    Overload("add_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, _add_moment),
    Overload("add_duration_timestamp", (DURATION, TIMESTAMP), TIMESTAMP, lambda d, t: _add_moment(t, d)),
    Overload("add_duration_duration", (DURATION, DURATION), DURATION, lambda a, b: times.span(a.nanos + b.nanos)),
]
_MINUS = [
    _binary("subtract", INT, lambda a, b: whole(a - b)),
    _binary("subtract", UINT, lambda a, b: unsigned(a - b)),
    _binary("subtract", DOUBLE, operator.sub),
    Overload(
        "subtract_timestamp_timestamp", (TIMESTAMP, TIMESTAMP), DURATION, lambda a, b: times.span(a.nanos - b.nanos)
    ),
    Overload("subtract_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, lambda t, d: times.moved(t, -d.nanos)),
    Overload("subtract_duration_duration", (DURATION, DURATION), DURATION, lambda a, b: times.span(a.nanos - b.nanos)),
]
_OPTIONAL_LIST = Type("optional", "optional_type", (LIST_A,))
_OPTIONAL_MAP = Type("optional", "optional_type", (MAP_AB,))

FUNCTIONS: dict[str, list[Overload]] = {
    "_+_": _PLUS,
    "_-_": _MINUS,
    "_*_": [
        _binary("multiply", INT, lambda a, b: whole(a * b)),
        _binary("multiply", UINT, lambda a, b: unsigned(a * b)),
        _binary("multiply", DOUBLE, operator.mul),
    ],
    "_/_": [
        _binary("divide", INT, _divide),
        _binary("divide", UINT, _divide_unsigned),
        _binary("divide", DOUBLE, _divide_double),
    ],
    "_%_": [_binary("modulo", INT, _modulo), _binary("modulo", UINT, _modulo_unsigned)],
    "-_": [Overload("negate_int", (INT,), INT, _negate), Overload("negate_double", (DOUBLE,), DOUBLE, operator.neg)],
    "!_": [Overload("logical_not", (BOOL,), BOOL, operator.not_)],
    "_==_": [Overload("equals", (A, A), BOOL, equal, cost=_equality_cost)],
    "_!=_": [Overload("not_equals", (A, A), BOOL, _differ, cost=_equality_cost)],
    "_<_": _comparisons("less", operator.lt),
    "_<=_": _comparisons("less_equals", operator.le),
    "_>_": _comparisons("greater", operator.gt),
    "_>=_": _comparisons("greater_equals", operator.ge),
    "@in": [
        Overload("in_list", (A, LIST_A), BOOL, _in_list, cost=_list_cost),
        Overload("in_map", (A, MAP_AB), BOOL, _in_map),
    ],
    "_[_]": [
        Overload("index_list", (LIST_A, INT), A, _index_list),
        Overload("index_map", (MAP_AB, A), B, _index_map),
    ],
    "_[?_]": [
        Overload("list_optindex_optional_int", (LIST_A, INT), optional_of(A), _maybe_list),
        Overload("optional_list_optindex_optional_int", (_OPTIONAL_LIST, INT), optional_of(A), _maybe_in),
        Overload("map_optindex_optional_value", (MAP_AB, A), optional_of(B), _maybe_map),
        Overload("optional_map_optindex_optional_value", (_OPTIONAL_MAP, A), optional_of(B), _maybe_in),
    ],
    "size": [
        Overload(f"{'' if member else 'size_'}{t.kind}{'_size' if member else ''}", (t,), INT, _size, member)
        for t in (STRING, BYTES, LIST_A, MAP_AB)
        for member in (False, True)
    ],
    "matches": [
        Overload("matches", (STRING, STRING), BOOL, _matches, cost=matches_cost),
        Overload("matches_string", (STRING, STRING), BOOL, _matches, member=True, cost=matches_cost),
    ],
    "contains": [
        Overload("contains_string", (STRING, STRING), BOOL, operator.contains, member=True, cost=_contains_cost)
    ],
    "startsWith": [
        Overload("starts_with_string", (STRING, STRING), BOOL, str.startswith, member=True, cost=_prefix_cost)
    ],
    "endsWith": [Overload("ends_with_string", (STRING, STRING), BOOL, str.endswith, member=True, cost=_prefix_cost)],
    **{name: _part(name, run) for name, run in _PARTS.items()},
}
