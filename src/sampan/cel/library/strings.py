"""Strings: charAt, indexOf, replace, split, join, substring, trim, quote; format is in formatting.

https://pkg.go.dev/github.com/google/cel-go/ext#Strings
"""

from collections.abc import Callable, Sequence
from typing import Any

from sampan.cel.functions import CallCost, Overload, size_of, tenth, traverse
from sampan.cel.library import formatting
from sampan.cel.types import DYN, INT, STRING, Type, list_of
from sampan.cel.values import EvaluationError, too_costly

_TEXTS = list_of(STRING)
_LONGEST = 32 * 1024 * 1024
_LOWER = {ord(c): ord(c) + 32 for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_UPPER = {code: char for char, code in _LOWER.items()}
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_QUOTES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, offset: int = 0) -> int:
    if part == "":
        return offset
    if offset < 0:
        raise EvaluationError(f"index out of range: {offset}")
    return text.find(part, offset)


def _last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if part == "":
        return len(text) if offset is None else offset
    if offset is None:
        return text.rfind(part)
    if offset < 0:
        raise EvaluationError(f"index out of range: {offset}")
    return text.rfind(part, 0, offset + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if len(new) > len(old) and text.count(old) * len(new) > _LONGEST:
        raise too_costly()
    return text.replace(old, new, count)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator == "":
        chars = list(text)
        return chars if limit < 0 or len(chars) <= limit else [*chars[: limit - 1], "".join(chars[limit - 1 :])]
    return text.split(separator, -1 if limit < 0 else limit - 1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if end is not None and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for index in (start, last):
        if not 0 <= index <= len(text):
            raise EvaluationError(f"index out of range: {index}")
    return text[start:last]


def _trim(text: str) -> str:
    return text.strip(_SPACE)


def _join(items: Sequence[str], separator: str = "") -> str:
    if not all(type(item) is str for item in items):
        raise EvaluationError("no such overload: join")
    return separator.join(items)


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTES.get(c, c) for c in text) + '"'


def _join_cost(args: Sequence[Any]) -> int:
    count = len(args[0])
    if count > _LONGEST:
        return count
    separator = len(args[1]) if len(args) > 1 else 0
    return tenth(2 * (sum(size_of(item) for item in args[0]) + separator * max(count - 1, 0)))


def _members(
    name: str, run: Callable[..., Any], result: Type, cost: CallCost | None, *shapes: Sequence[Type]
) -> list[Overload]:
    return [
        Overload(f"string_{name}_" + "_".join(t.kind for t in shape[1:]), tuple(shape), result, run, True, cost)
        for shape in shapes
    ]


_IN = (STRING, STRING)
FUNCTIONS: dict[str, list[Overload]] = {
    "charAt": _members("char_at", _char_at, STRING, None, (STRING, INT)),
    "indexOf": _members("index_of", _index_of, INT, traverse(), _IN, (*_IN, INT)),
    "lastIndexOf": _members("last_index_of", _last_index_of, INT, traverse(), _IN, (*_IN, INT)),
    "lowerAscii": _members("lower_ascii", lambda s: s.translate(_LOWER), STRING, traverse(), (STRING,)),
    "upperAscii": _members("upper_ascii", lambda s: s.translate(_UPPER), STRING, traverse(), (STRING,)),
    "replace": _members("replace", _replace, STRING, traverse(2), (*_IN, STRING), (*_IN, STRING, INT)),
    "split": _members("split", _split, _TEXTS, traverse(2), _IN, (*_IN, INT)),
    "substring": _members("substring", _substring, STRING, traverse(), (STRING, INT), (STRING, INT, INT)),
    "trim": _members("trim", _trim, STRING, traverse(), (STRING,)),
    "join": _members("join", _join, STRING, _join_cost, (_TEXTS,), (_TEXTS, STRING)),
    "format": _members("format", formatting.format_text, STRING, traverse(), (STRING, list_of(DYN))),
    "strings.quote": [Overload("strings_quote", (STRING,), STRING, _quote, cost=traverse())],
}
