"""'%s is %d'.format([a, b]): CEL's formatting of strings.

https://pkg.go.dev/github.com/google/cel-go/ext#Strings
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.cel import times
from sampan.cel.library.conversions import format_double
from sampan.cel.library.lists import traversal
from sampan.cel.values import Duration, EvaluationError, Timestamp, TypeValue, UInt, too_costly, type_name

_CLAUSE = re.compile(r"%(?:\.([0-9]+))?(.?)", re.DOTALL | re.ASCII)
_MAX_PRECISION = 1000
_LONGEST = 32 * 1024 * 1024


def format_text(text: str, values: Sequence[Any]) -> str:
    """The text with each clause replaced by its value in turn."""
    used = 0
    size = 0

    def clause(match: "re.Match[str]") -> str:
        nonlocal used, size
        precision, verb = match.groups()
        if verb == "%" and precision is None:
            return "%"
        if used >= len(values):
            raise EvaluationError(f"index {used} out of range")
        used += 1
        value = values[used - 1]
        size += 10 * traversal(value)
        if size > _LONGEST:
            raise too_costly()
        return _clause(verb, precision, value)

    made = _CLAUSE.sub(clause, text)
    if used < len(values):
        raise EvaluationError("too many arguments supplied to string.format")
    return made


def _clause(verb: str, precision: str | None, value: Any) -> str:
    if verb == "s":
        return _text(value)
    if verb == "d":
        return _decimal(value)
    if verb in {"f", "e"}:
        return _float(verb, 6 if precision is None else int(precision[:9]), value)
    if verb == "b":
        return _binary(value)
    if verb in {"x", "X"}:
        return _hexadecimal(verb, value)
    if verb == "o":
        if type(value) in {int, UInt}:
            return format(int(value), "o")
        raise _wrong("octal clause can only be used on integers", value)
    raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')


def _wrong(text: str, value: Any) -> EvaluationError:
    return EvaluationError(f"error during formatting: {text}, was given {type_name(value)}")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _number_text(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Timestamp):
        return times.format_timestamp(value)
    if isinstance(value, Duration):
        return times.format_duration(value)
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, Mapping):
        pairs = sorted((_text(k), _text(v)) for k, v in value.items())
        return "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    raise _wrong("string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, "
                 "durations, and timestamps", value)  # fmt: skip


def _number_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return str(int(value)) if value == int(value) and abs(value) < 1e21 else format_double(value)


def _decimal(value: Any) -> str:
    if type(value) in {int, UInt}:
        return str(int(value))
    if type(value) is float and (math.isnan(value) or math.isinf(value)):
        return _number_text(value)
    raise _wrong("decimal clause can only be used on integers", value)


def _float(verb: str, precision: int, value: Any) -> str:
    if precision > _MAX_PRECISION:
        raise EvaluationError(f"error during formatting: precision {precision} exceeds the limit of {_MAX_PRECISION}")
    if type(value) not in {int, UInt, float}:
        raise _wrong(f"{'fixed-point' if verb == 'f' else 'scientific'} clause can only be used on doubles", value)
    number = float(value)
    return _number_text(number) if math.isnan(number) or math.isinf(number) else f"{number:.{precision}{verb}}"


def _binary(value: Any) -> str:
    if type(value) is bool:
        return "1" if value else "0"
    if type(value) in {int, UInt}:
        return format(int(value), "b")
    raise _wrong("binary clause can only be used on integers and bools", value)


def _hexadecimal(verb: str, value: Any) -> str:
    if type(value) in {int, UInt}:
        return format(int(value), verb)
    data = value.encode() if isinstance(value, str) else value
    if not isinstance(data, bytes):
        raise _wrong("hex clause can only be used on integers, byte buffers, and strings", value)
    return data.hex() if verb == "x" else data.hex().upper()
