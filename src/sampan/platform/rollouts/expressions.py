"""Expressions: the conditions of metrics, such as `result[0] >= 0.95 && len(result) > 0`.

A small part of the language of Expr: literals, lists, fields and indexes, arithmetic, comparisons, `in`, `contains`,
`startsWith`, `endsWith`, `matches`, `and`/`&&`, `or`/`||`, `not`/`!`, `a ? b : c`, and functions of one or two arguments,
of which all, any, none, one, filter, map and count take a predicate in braces, where `#` is the item. What nests too
deeply or takes too long is an error: whoever evaluates it has more to do.

https://expr-lang.org/docs/language-definition
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.cel import patience, regex
from sampan.cel.values import EvaluationError

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+|\d+(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<sign>\?\?|\*\*|==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}\#]))"""
)
_BINDING = {
    "?": 1, "??": 2, "||": 3, "or": 3, "&&": 4, "and": 4, "==": 5, "!=": 5, "<": 5, "<=": 5, ">": 5, ">=": 5, "in": 5,
    "not": 5, "contains": 5, "startsWith": 5, "endsWith": 5, "matches": 5, "+": 6, "-": 6, "*": 7, "/": 7, "%": 7, "**": 8,
}  # fmt: skip
_CONSTANTS = {"true": True, "false": False, "nil": None}
_UNARY = 9
_MAX_TOKENS, _MAX_DEPTH = 10_000, 64
_PATIENCE = 200_000  # about as many microseconds
_INTEGERS = range(-(2**63), 2**63)
_FAILURES = (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, EvaluationError)

Names = Mapping[str, Any]
Node = Callable[[Names], Any]


class ExpressionError(Exception):
    """It is no expression, or can't be evaluated; the text is for people."""


def holds(text: str, result: Any) -> bool:
    """Whether a condition holds for a measurement. Raises ExpressionError."""
    found = evaluate(text, {"result": result})
    if not isinstance(found, bool):
        raise ExpressionError(f"expected bool, but got {_type(found)}")
    return found


def check(text: str) -> None:
    """Raises ExpressionError for what is no expression."""
    _patiently(lambda: _parsed(text))


def evaluate(text: str, names: Names) -> Any:
    """Its value. Raises ExpressionError."""
    return _patiently(lambda: _parsed(text)(names))


def matches(pattern: str, text: str) -> bool:
    """Whether a regular expression (RE2) matches anywhere in the text. Raises ExpressionError."""
    return bool(_patiently(lambda: regex.compiled(pattern).search(text)))


def _patiently(work: Callable[[], Any]) -> Any:
    token = patience.limit(_PATIENCE)
    try:
        return work()
    except patience.TooLong:
        raise ExpressionError("the expression takes too long") from None
    except _FAILURES as error:
        raise ExpressionError(str(error)) from error
    finally:
        patience.end(token)


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Node:
    parser = _Parser(_tokens(text))
    node = parser.expression(0)
    if parser.peek is not None:
        raise ExpressionError(f"unexpected token {parser.peek.text!r}")
    return node


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position, text = 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"unrecognized character: {text[position:].strip()[:1]!r}")
        if len(found) == _MAX_TOKENS:
            raise ExpressionError(f"the expression has more than {_MAX_TOKENS} parts")
        found.append(_Token(str(match.lastgroup), match[str(match.lastgroup)]))
        position = match.end()
    return found


class _Parser:
    """Operators by their binding strength, the strongest last."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    @property
    def peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def take(self) -> _Token:
        token = self.peek
        if token is None:
            raise ExpressionError("unexpected end of expression")
        self._next += 1
        return token

    def need(self, sign: str) -> None:
        token = self.take()
        if token.text != sign:
            raise ExpressionError(f"unexpected token {token.text!r}, expected {sign!r}")

    def expression(self, strength: int) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError("the expression nests too deeply")
        left = self._unary()
        while (token := self.peek) is not None and token.kind in ("sign", "name"):
            binding = _BINDING.get(token.text, 0)
            if binding <= strength:
                break
            self.take()
            left = self._binary(token.text, left, binding)
        self._depth -= 1
        return left

    def _binary(self, sign: str, left: Node, binding: int) -> Node:
        if sign == "?":
            then = self.expression(0)
            self.need(":")
            otherwise = self.expression(0)
            return lambda names: then(names) if _truth(left(names)) else otherwise(names)
        if sign == "not":
            self.need("in")
            right = self.expression(binding)
            return lambda names: not _contained(left(names), right(names))
        right = self.expression(binding - 1 if sign == "**" else binding)
        if sign in ("&&", "and"):
            return lambda names: _truth(left(names)) and _truth(right(names))
        if sign in ("||", "or"):
            return lambda names: _truth(left(names)) or _truth(right(names))
        if sign == "??":
            return lambda names: right(names) if (found := left(names)) is None else found
        work = _OPERATORS[sign]
        return lambda names: work(*_weighed(left(names), right(names)))

    def _unary(self) -> Node:
        token = self.take()
        if token.text in ("!", "not") and token.kind != "text":
            inner = self.expression(_UNARY)
            return lambda names: not _truth(inner(names))
        if token.text in ("-", "+") and token.kind == "sign":
            inner, factor = self.expression(_UNARY), -1 if token.text == "-" else 1
            return lambda names: factor * _number(inner(names))
        return self._tail(self._primary(token))

    def _primary(self, token: _Token) -> Node:
        if token.kind == "number":
            number = _whole(int(token.text)) if token.text.isdecimal() else float(token.text)
            return lambda names: number
        if token.kind == "text":
            text = token.text[1:-1] if token.text[0] == "`" else re.sub(r"\\(.)", _escaped, token.text[1:-1])
            return lambda names: text
        if token.kind == "name":
            return self._named(token.text)
        if token.text == "(":
            inner = self.expression(0)
            self.need(")")
            return inner
        if token.text == "[":
            items = self._listed("]")
            return lambda names: [item(names) for item in items]
        if token.text == "#":
            return lambda names: _name(names, "#")
        raise ExpressionError(f"unexpected token {token.text!r}")

    def _named(self, name: str) -> Node:
        if name in _CONSTANTS:
            return lambda names: _CONSTANTS[name]
        if self.peek is None or self.peek.text != "(":
            return lambda names: _name(names, name)
        self.take()
        if name in _WITH_PREDICATE:
            return self._predicated(name)
        work, inputs = _FUNCTIONS.get(name), self._listed(")")
        if work is None:
            raise ExpressionError(f"unknown name {name}")
        if name in _AT_A_GLANCE:
            return lambda names: work(*(item(names) for item in inputs))
        return lambda names: work(*_weighed(*(item(names) for item in inputs)))

    def _predicated(self, name: str) -> Node:
        """A function over a list, with what is asked of each item."""
        listed = self.expression(0)
        self.need(",")
        is_braced = self.peek is not None and self.peek.text == "{"
        if is_braced:
            self.take()
        begin = self._next
        predicate = self.expression(0)
        cost = 1 + self._next - begin
        if is_braced:
            self.need("}")
        self.need(")")
        work = _WITH_PREDICATE[name]

        def asked(names: Names, item: Any) -> Any:
            patience.spend(cost)
            return predicate({**names, "#": item})

        return lambda names: work(listed(names), functools.partial(asked, names))

    def _listed(self, end: str) -> list[Node]:
        items: list[Node] = []
        while self.peek is not None and self.peek.text != end:
            items.append(self.expression(0))
            if self.peek is not None and self.peek.text == ",":
                self.take()
            elif self.peek is None or self.peek.text != end:
                break
        self.need(end)
        return items

    def _tail(self, node: Node) -> Node:
        while (token := self.peek) is not None and token.text in (".", "[") and token.kind == "sign":
            self.take()
            node = self._field(node) if token.text == "." else self._index(node)
        return node

    def _field(self, node: Node) -> Node:
        field = self.take().text
        return lambda names: _at(node(names), field)

    def _index(self, node: Node) -> Node:
        index = self.expression(0)
        self.need("]")
        return lambda names: _at(node(names), index(names))


def _weighed(*values: Any) -> tuple[Any, ...]:
    """The same, once all that is in them is paid for, each time that it is in them. Raises TooLong."""
    waiting = list(values)
    patience.spend(len(waiting))
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            patience.spend(len(value) >> 6)
        elif isinstance(value, Mapping | list):
            patience.spend(len(value))
            waiting.extend(value)
            waiting.extend(value.values() if isinstance(value, Mapping) else ())
    return values


def _whole(number: Any) -> Any:
    """An integer beyond 64 bits is a floating point number."""
    return number if isinstance(number, float) or number in _INTEGERS else float(number)


def _escaped(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1])


def _name(names: Names, name: str) -> Any:
    if name not in names:
        raise ExpressionError(f"unknown name {name}")
    return names[name]


def _at(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool):
        if not -len(value) <= key < len(value):
            raise ExpressionError(f"reflect: slice index out of range: {key} of {len(value)}")
        return value[key]
    raise ExpressionError(f"cannot fetch {key} from {_type(value)}")


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"expected bool, but got {_type(value)}")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"expected a number, but got {_type(value)}")
    return value


def _type(value: Any) -> str:
    if value is None:
        return "nil"
    names = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}")


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def work(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return compare(left, right)
        return compare(_number(left), _number(right))

    return work


def _sum(left: Any, right: Any) -> Any:
    return left + right if isinstance(left, str) and isinstance(right, str) else _whole(_number(left) + _number(right))


def _quotient(left: Any, right: Any) -> float:
    """As with floating point numbers anywhere else: there is no error."""
    above, below = float(_number(left)), float(_number(right))
    if below:
        return above / below
    return math.nan if not above or math.isnan(above) else math.copysign(math.inf, above)


def _contained(item: Any, among: Any) -> bool:
    if isinstance(among, Mapping):
        return item in among
    return any(_same(item, each) for each in among)


def _float(value: Any) -> float:
    return float(value) if isinstance(value, str) else float(_number(value))


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _same,
    "!=": lambda left, right: not _same(left, right),
    "<": _ordered(lambda left, right: bool(left < right)),
    "<=": _ordered(lambda left, right: bool(left <= right)),
    ">": _ordered(lambda left, right: bool(left > right)),
    ">=": _ordered(lambda left, right: bool(left >= right)),
    "in": _contained,
    "contains": lambda left, right: str(right) in str(left),
    "startsWith": lambda left, right: str(left).startswith(str(right)),
    "endsWith": lambda left, right: str(left).endswith(str(right)),
    "matches": lambda left, right: regex.compiled(str(right)).search(str(left)),
    "+": _sum,
    "-": lambda left, right: _whole(_number(left) - _number(right)),
    "*": lambda left, right: _whole(_number(left) * _number(right)),
    "/": _quotient,
    "%": lambda left, right: math.fmod(_number(left), _number(right)),
    "**": lambda left, right: float(_number(left)) ** _number(right),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "isNaN": lambda value: math.isnan(_float(value)),
    "isInf": lambda value: math.isinf(_float(value)),
    "asInt": lambda value: int(_float(value)),
    "asFloat": _float,
    "int": lambda value: int(_float(value)),
    "float": _float,
    "string": str,
    "abs": lambda value: abs(_number(value)),
    "sum": lambda listed: sum(map(_number, listed)),
    "min": lambda *values: min(values[0] if len(values) == 1 else values),
    "max": lambda *values: max(values[0] if len(values) == 1 else values),
    "isNil": lambda value: value is None,
    "default": lambda value, other: other if value is None or value == [] or _is_nan(value) else value,
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
}
_AT_A_GLANCE = ("len", "isNil")
_WITH_PREDICATE: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "all": lambda listed, holds: all(_truth(holds(item)) for item in listed),
    "any": lambda listed, holds: any(_truth(holds(item)) for item in listed),
    "none": lambda listed, holds: not any(_truth(holds(item)) for item in listed),
    "one": lambda listed, holds: sum(_truth(holds(item)) for item in listed) == 1,
    "filter": lambda listed, holds: [item for item in listed if _truth(holds(item))],
    "map": lambda listed, made: [made(item) for item in listed],
    "count": lambda listed, holds: sum(_truth(holds(item)) for item in listed),
}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
