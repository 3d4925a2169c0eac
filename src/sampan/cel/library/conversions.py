"""Conversions between types: int("1"), string(1.5), timestamp("..."), type(x), dyn(x).

https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from sampan.cel import times
from sampan.cel.functions import A, Overload, traverse
from sampan.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, UINT, Type
from sampan.cel.values import Duration, EvaluationError, Timestamp, TypeValue, UInt, type_name

_LONGEST = 4000
_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity|nan)", re.IGNORECASE | re.ASCII
)
_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)


def _same(value: Any) -> Any:
    return value


def _to_int(value: float) -> int:
    if math.isnan(value) or not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("integer overflow")
    return int(value)


def _uint_to_int(value: int) -> int:
    if value >= 1 << 63:
        raise EvaluationError("integer overflow")
    return int(value)


def _parse_int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise EvaluationError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > _LONGEST or not -(1 << 63) <= (value := int(text)) < 1 << 63:
        raise EvaluationError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _parse_uint(text: str) -> UInt:
    if not text.isascii() or not text.isdigit():
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > _LONGEST or (value := int(text)) >= 1 << 64:
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return UInt(value)


def _to_uint(value: int) -> UInt:
    if value < 0:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def _double_to_uint(value: float) -> UInt:
    if math.isnan(value) or not 0 <= value < 2.0**64:
        raise EvaluationError("unsigned integer overflow")
    return UInt(int(value))


def _parse_double(text: str) -> float:
    if not _DOUBLE.fullmatch(text):
        raise EvaluationError(f'strconv.ParseFloat: parsing "{text}": invalid syntax')
    return float(text)


def _parse_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise EvaluationError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def format_double(value: float) -> str:
    """A double in the shortest form, with an exponent from a million on: 1.5, 1e+06."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if not value:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits, exponent = _shortest(repr(abs(value)))
    sign = "-" if value < 0 else ""
    if -4 <= exponent < 6:
        if exponent < 0:
            return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
        head = digits[: exponent + 1].ljust(exponent + 1, "0")
        return f"{sign}{head}{'.' + digits[exponent + 1 :] if len(digits) > exponent + 1 else ''}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _shortest(text: str) -> tuple[str, int]:
    """Significant digits and decimal exponent of a positive number as repr() writes it."""
    number, _, power = text.partition("e")
    head, _, tail = number.partition(".")
    digits = (head + tail).lstrip("0")
    exponent = int(power or 0) + (len(head) - 1 if head.strip("0") else -(len(tail) - len(tail.lstrip("0"))) - 1)
    return digits.rstrip("0") or "0", exponent


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def _checked(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        try:
            return run(value)
        except ValueError as wrong:
            raise EvaluationError(str(wrong)) from None

    return convert


def _parse_duration(text: str) -> Duration:
    return times.parse_duration(text)


def _parse_timestamp(text: str) -> Timestamp:
    return times.parse_timestamp(text)


def _text_cost(args: Sequence[Any]) -> int:
    """Parsing costs 1; a text far longer than any number or moment costs more."""
    return 1 + (len(args[0]) // 100 if type(args[0]) is str else 0)


def _of(target: str, type_: Type, *sources: tuple[Type, Callable[[Any], Any]]) -> list[Overload]:
    return [
        Overload(f"{source.kind}_to_{target}", (source,), type_, run, cost=_text_cost if source is STRING else None)
        for source, run in sources
    ]


def _type_of(value: Any) -> TypeValue:
    return TypeValue(type_name(value))


_TO_STRING: tuple[tuple[Type, Callable[[Any], Any]], ...] = (
    (STRING, _same),
    (INT, str),
    (UINT, lambda v: str(int(v))),
    (DOUBLE, format_double),
    (BOOL, lambda v: "true" if v else "false"),
    (TIMESTAMP, times.format_timestamp),
    (DURATION, times.format_duration),
)

FUNCTIONS: dict[str, list[Overload]] = {
    "int": _of(
        "int",
        INT,
        (INT, _same),
        (UINT, _uint_to_int),
        (DOUBLE, _to_int),
        (STRING, _parse_int),
        (TIMESTAMP, lambda t: t.nanos // times.SECOND),
        (DURATION, lambda d: d.nanos),
    ),
    "uint": _of("uint", UINT, (UINT, _same), (INT, _to_uint), (DOUBLE, _double_to_uint), (STRING, _parse_uint)),
    "double": _of("double", DOUBLE, (DOUBLE, _same), (INT, float), (UINT, float), (STRING, _parse_double)),
    "string": [
        *_of("string", STRING, *_TO_STRING),
        Overload("bytes_to_string", (BYTES,), STRING, _decode, cost=traverse()),
    ],
    "bytes": [
        *_of("bytes", BYTES, (BYTES, _same)),
        Overload("string_to_bytes", (STRING,), BYTES, str.encode, cost=traverse()),
    ],
    "bool": _of("bool", BOOL, (BOOL, _same), (STRING, _parse_bool)),
    "timestamp": _of(
        "timestamp",
        TIMESTAMP,
        (TIMESTAMP, _same),
        (STRING, _checked(_parse_timestamp)),
        (INT, _checked(times.of_seconds)),
    ),
    "duration": _of(
        "duration",
        DURATION,
        (DURATION, _same),
        (STRING, _checked(_parse_duration)),
        (INT, Duration),
    ),
    "dyn": [Overload("to_dyn", (A,), DYN, _same)],
    "type": [Overload("type", (A,), Type("type", params=(A,)), _type_of)],
}
