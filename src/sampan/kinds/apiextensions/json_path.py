"""JSONPath as printer columns use it: fields, indices, slices, wildcards, filters; what is missing gives nothing.

`.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.containers[*].name`.

https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterable[Any]]

_NAME = re.compile(r"(?:\\.|[^.\[\]\\])+")
_MANY = 1e6  # larger numbers are shown with an exponent
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_FILTER = re.compile(r"(.+?)(==|!=|<=|>=|<|>)(.+)")


class PathError(ValueError):
    """Not a path."""


def values(path: str, obj: Any) -> list[Any]:
    """All values at a path. Raises PathError."""
    return reach(parse(path), obj)


def reach(steps: Iterable[Step], obj: Any) -> list[Any]:
    """All values where these steps lead. Raises PathError."""
    found = [obj]
    for step in steps:
        found = [below for value in found for below in step(value)]
    return found


@lru_cache(maxsize=1024)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path. Raises PathError."""
    steps: list[Step] = []
    at = 0
    while at < len(path):
        if path[at] == "[":
            end = _closing(path, at)
            steps.append(_bracket(path[at + 1 : end].strip()))
            at = end + 1
        elif path.startswith("..", at):
            steps.append(_descend)
            at += 1 if path[at + 2 : at + 3] not in ("", "[") else 2
        elif path[at] == ".":
            found = _NAME.match(path, at + 1)
            if found is None:
                if path[at + 1 : at + 2] not in ("", "["):
                    raise PathError(f"unexpected sign in {path}")
                at += 1
                continue
            steps.append(_field(re.sub(r"\\(.)", r"\1", found.group())))
            at = found.end()
        else:
            raise PathError(f"a step begins with . or [ in {path}")
    return tuple(steps)


def _closing(path: str, start: int) -> int:
    """The index of the bracket that closes this one."""
    depth, quote, at = 0, "", start
    while at < len(path):
        sign = path[at]
        if quote:
            if sign == "\\":
                at += 1
            elif sign == quote:
                quote = ""
        elif sign in "'\"":
            quote = sign
        elif sign == "[":
            depth += 1
        elif sign == "]":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise PathError(f"unterminated array in {path}")


def _field(name: str) -> Step:
    if name == "*":
        return _all
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _all(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _descend(value: Any) -> Iterable[Any]:
    yield value
    for below in _all(value):
        yield from _descend(below)


def _bracket(text: str) -> Step:
    if text == "*":
        return _all
    if text.startswith("?(") and text.endswith(")"):
        return _filter(text[2:-1].strip())
    parts = _split(text)
    if len(parts) > 1:
        steps = [_bracket(part.strip()) for part in parts]
        return lambda value: [below for step in steps for below in step(value)]
    if text[:1] in "'\"" and len(text) > 1 and text[-1] == text[0]:
        return _field(re.sub(r"\\(.)", r"\1", text[1:-1]))
    if re.fullmatch(r"(-?\d+)?", text):  # brackets without anything are the first
        return _index(int(text or 0))
    found = re.fullmatch(r"(-?\d+)?:(-?\d+)?(?::(\d+))?", text)
    if found is None:
        raise PathError(f"invalid array index {text}")
    start, end, step = (int(part) if part else None for part in found.groups())
    return lambda value: value[start : end : step or 1] if isinstance(value, list) else []


def _split(text: str) -> list[str]:
    """At commas outside quotes."""
    return re.findall(r"(?:'(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\"|[^,])+", text)


def _index(index: int) -> Step:
    return lambda value: [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []


def _filter(text: str) -> Step:
    found = _FILTER.fullmatch(text)
    if found is None:
        left = _operand(text)
        return lambda value: [item for item in _all(value) if left(item)]
    left, sign, right = _operand(found.group(1).strip()), found.group(2), _operand(found.group(3).strip())
    return lambda value: [item for item in _all(value) if _holds(left(item), sign, right(item))]


def _operand(text: str) -> Callable[[Any], list[Any]]:
    if text.startswith("@"):
        steps = parse(text[1:])

        def look(item: Any) -> list[Any]:
            found = [item]
            for step in steps:
                found = [below for value in found for below in step(value)]
            return found

        return look
    if text[:1] in "'\"":
        constant: Any = re.sub(r"\\(.)", r"\1", text[1:-1])
    else:
        try:
            constant = json.loads(text)
        except ValueError as error:
            raise PathError(f"unrecognized operand {text}") from error
    return lambda item: [constant]


def _holds(left: list[Any], sign: str, right: list[Any]) -> bool:
    if len(left) != 1 or len(right) != 1:
        return False
    a, b = left[0], right[0]
    if sign in ("==", "!="):
        return (a == b and isinstance(a, bool) == isinstance(b, bool)) == (sign == "==")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    if not numbers and not (isinstance(a, str) and isinstance(b, str)):
        return False
    return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[sign])


def text(value: Any) -> str:
    """A value as a column of type string shows it."""
    if value is None:
        return "<no value>"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _number(value)
    shown = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return shown.translate(_ESCAPES)


def _number(value: float) -> str:
    """As Go prints it: 2.5, 1.23456785e+07, whole ones without a point."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if 1e-4 <= abs(value) < _MANY:
        return repr(value)
    digits, _, exponent = f"{Decimal(repr(value)):e}".partition("e")
    return f"{digits}e{exponent[0]}{exponent[1:]:0>2}"
