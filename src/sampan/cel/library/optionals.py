"""Optional values: optional.of(x), a.?b, x.orValue(y), first and last of lists.

https://pkg.go.dev/github.com/google/cel-go/cel#OptionalTypes
"""

from collections.abc import Sequence
from typing import Any

from sampan.cel.functions import LIST_A, OPTIONAL_A, A, Overload
from sampan.cel.types import BOOL, list_of
from sampan.cel.values import NONE, Duration, EvaluationError, Optional, Timestamp


def _is_zero(value: Any) -> bool:
    if isinstance(value, Duration):
        return value.nanos == 0
    if isinstance(value, Timestamp):
        return value.nanos == -62135596800 * 10**9
    if value is None or isinstance(value, bool | int | float):
        return not value
    return hasattr(value, "__len__") and len(value) == 0


def _value(held: Optional) -> Any:
    if held.present:
        return held.value
    raise EvaluationError("optional.none() dereference")


def _unwrap(items: Sequence[Optional]) -> list[Any]:
    return [item.value for item in items if item.present]


def _member(name: str, params: tuple[Any, ...], result: Any, run: Any) -> list[Overload]:
    return [Overload(name, params, result, run, member=True)]


FUNCTIONS: dict[str, list[Overload]] = {
    "optional.of": [Overload("optional_of", (A,), OPTIONAL_A, Optional)],
    "optional.ofNonZeroValue": [
        Overload("optional_ofNonZeroValue", (A,), OPTIONAL_A, lambda v: NONE if _is_zero(v) else Optional(v))
    ],
    "optional.none": [Overload("optional_none", (), OPTIONAL_A, lambda: NONE)],
    "optional.unwrap": [Overload("optional_unwrap", (list_of(OPTIONAL_A),), LIST_A, _unwrap)],
    "unwrapOpt": _member("optional_unwrapOpt", (list_of(OPTIONAL_A),), LIST_A, _unwrap),
    "value": _member("optional_value", (OPTIONAL_A,), A, _value),
    "hasValue": _member("optional_hasValue", (OPTIONAL_A,), BOOL, lambda held: held.present),
    "or": _member("optional_or_optional", (OPTIONAL_A, OPTIONAL_A), OPTIONAL_A, lambda a, b: a if a.present else b),
    "orValue": _member("optional_orValue_value", (OPTIONAL_A, A), A, lambda a, b: a.value if a.present else b),
    "first": _member("list_first", (LIST_A,), OPTIONAL_A, lambda x: Optional(x[0]) if len(x) else NONE),
    "last": _member("list_last", (LIST_A,), OPTIONAL_A, lambda x: Optional(x[len(x) - 1]) if len(x) else NONE),
}
