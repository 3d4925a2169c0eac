"""JSON bytes to object trees and back: fast, and strict about repeated keys when asked.

orjson keeps the last of repeated keys in silence. A repetition shows, without a second parse, by the
number of colons: every key has one outside strings, those inside strings survive decoding and
encoding, and nothing adds one but an escaped colon. Only when the numbers differ is the text scanned
again, with the path of each repetition.

https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import json
import re
from typing import Any

import orjson

from sampan.meta import status

UNREADABLE = "couldn't get version/kind; json parse error: "
_TOO_DEEP = "exceeded max depth"
_ROOM = 24
"""Levels below the 254 that the encoder writes, for what an object is shown in: lists, reviews, and who owns its fields."""
_ESCAPED_COLONS = (b"\\u003a", b"\\u003A")
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_NUMBER = re.compile(r"[-+.0-9eE]+")


def decode(data: bytes) -> Any:
    """The tree of a JSON text. ApiError 400, worded as upstream, when it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(UNREADABLE + explain(data, error)) from None


def decode_strict(data: bytes) -> tuple[Any, list[str]]:
    """The tree, and `duplicate field "spec.replicas"` for each repeated key, in document order.

    The last value of a repeated key wins, and its place in the tree is that of the last one.
    """
    tree = decode(data)
    again = within_depth(tree)
    if data.count(b":") == again.count(b":") and not any(text in data for text in _ESCAPED_COLONS):
        return tree, []
    return _scan(data)


def within_depth(tree: Any) -> bytes:
    """JSON of the tree, in some brackets more. ApiError 400 when it is too deep to be written as part of other things."""
    for _ in range(_ROOM):
        tree = [tree]
    try:
        return orjson.dumps(tree)
    except TypeError:
        raise status.bad_request(UNREADABLE + _TOO_DEEP) from None


def encode(tree: Any) -> bytes:
    """Compact JSON, keys in the tree's order."""
    return orjson.dumps(tree)


def escaped(text: bytes) -> bytes:
    """A JSON text with what Go escapes in strings, so that it is the same in bytes."""
    return text.replace(b"&", rb"\u0026").replace(b"<", rb"\u003c").replace(b">", rb"\u003e")


class _Pairs(list[tuple[str, Any]]):
    """An object's members as written, repetitions and all."""


def _scan(data: bytes) -> tuple[Any, list[str]]:
    found: dict[str, None] = {}
    tree = _collect(json.loads(data, object_pairs_hook=_Pairs, parse_int=_integer), "", found)
    return tree, [f'duplicate field "{path}"' for path in found]


def _integer(text: str) -> int | float:
    """A number without a fraction, as the fast decoder reads it: beyond 64 bits it is a float."""
    value = int(text)
    return value if _SMALLEST <= value <= _LARGEST else float(text)


def _collect(node: Any, path: str, found: dict[str, None]) -> Any:
    if isinstance(node, _Pairs):
        made: dict[str, Any] = {}
        for key, value in node:
            below = f"{path}.{key}" if path else key
            if key in made:
                found[below] = None
                del made[key]
            made[key] = _collect(value, below, found)
        return made
    if isinstance(node, list):
        return [_collect(item, f"{path}[{index}]", found) for index, item in enumerate(node)]
    return node


_GO_TEXTS = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}


def explain(data: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with a JSON text, as Go's decoder says it."""
    try:
        text = data.decode()
        json.loads(text, parse_constant=_refuse, parse_int=str, parse_float=str)
    except UnicodeDecodeError:
        return "invalid UTF-8 in string"
    except RecursionError:
        return "exceeded max depth"
    except json.JSONDecodeError as found:
        return _go_text(text, found)
    except ValueError as found:
        return str(found)
    if "ecursion" in error.msg:
        return "exceeded max depth"
    number = _NUMBER.match(text, error.pos) if "infinity" in error.msg else None
    if number is not None:
        return f"json: cannot unmarshal number {number[0]} into Go value of type float64"
    return error.msg.partition(":")[0]


def _refuse(constant: str) -> None:
    raise ValueError(f"invalid character '{constant[0]}' looking for beginning of value")


def _go_text(text: str, found: json.JSONDecodeError) -> str:
    if found.pos >= len(text.rstrip()) or found.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    where = _GO_TEXTS.get(found.msg.split(": line")[0])
    if where is None:
        before = text[: found.pos].rstrip()
        inside = before.rfind("[") > before.rfind("{")
        where = "after array element" if inside else "after object key:value pair"
    return f"invalid character {_quoted(text[found.pos])} {where}"


def _quoted(char: str) -> str:
    """A character in single quotes, as Go prints it."""
    special = {"'": "'\\''", '"': "'\"'", "\n": "'\\n'", "\t": "'\\t'", "\r": "'\\r'"}
    return special.get(char) or (f"'{char}'" if char.isprintable() else f"'\\x{ord(char):02x}'")
