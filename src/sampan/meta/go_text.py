"""Values of JSON as upstream's refusals of patches print them: in Go's form, and in the words of its converter.

https://pkg.go.dev/fmt#hdr-Printing
"""

import json
import math
from decimal import Decimal
from typing import Any

_SHORT_DIGITS = 6  # a float of more digits before its point is written with an exponent
_SCALARS = frozenset({"string", "bool", "int32", "int64", "float64"})
_CONVERTIBLE = frozenset({("int64", "string"), ("float64", "int32"), ("float64", "int64")})  # in Go, but not here


def text(value: Any) -> str:
    """A value as Go prints it: map[a:1 b:[x y]]."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{text(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(text, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    return "<nil>" if value is None else str(value)


def syntax(value: Any) -> str:
    """A value as Go's source has it: map[string]interface {}{"a":1}."""
    if isinstance(value, dict):
        return (
            f"map[string]interface {{}}{{{', '.join(f'{syntax(key)}:{syntax(value[key])}' for key in sorted(value))}}}"
        )
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(syntax, value))}}}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "interface {}(nil)" if value is None else text(value)


def type_name(value: Any) -> str:
    """The type of a decoded value: string, bool, int64, float64, []interface {} or map[string]interface {}."""
    return {"slice": "[]interface {}", "map": "map[string]interface {}", "nil": "<nil>"}.get(kind(value), kind(value))


def kind(value: Any) -> str:
    """What a decoded value is to Go: string, bool, int64, float64, slice, map, nil."""
    if value is None or isinstance(value, bool):
        return "nil" if value is None else "bool"
    if isinstance(value, int | float):
        return "int64" if isinstance(value, int) else "float64"
    if isinstance(value, str):
        return "string"
    return "slice" if isinstance(value, list) else "map"


def unfit(value: Any, go_type: str) -> str:
    """Why a value of a decoded tree cannot become one of this type, such as []v1.Container."""
    given = kind(value)
    if go_type.startswith("map["):
        return f"cannot restore map from {given}"
    if go_type.startswith("[]"):
        return f"cannot restore slice from {given}"
    if go_type not in _SCALARS:
        return f"cannot restore struct from: {given}"
    return (
        f"cannot convert {given} to {go_type}" if (given, go_type) in _CONVERTIBLE else f"unrecognized type: {go_type}"
    )


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    digits = Decimal(repr(value))
    exponent = digits.adjusted()
    if -5 < exponent < _SHORT_DIGITS or not value:
        return repr(value).removesuffix(".0")
    lead = format(digits.scaleb(-exponent).normalize(), "f")
    return f"{lead}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
