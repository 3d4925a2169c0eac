"""The syntax tree of an expression, as the parser makes it and the checker annotates it.

Macros are nodes of their own (Comprehension, Bind), so that cost and evaluation see what was written.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from typing import Any

from sampan.cel import types


class Node:
    """A part of an expression at offset `at` of its source. `type` is set by the checker."""

    __slots__ = ("at", "type")

    def __init__(self, at: int) -> None:
        self.at = at
        self.type: types.Type = types.DYN


class Const(Node):
    """A literal."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: Any, type_: types.Type) -> None:
        super().__init__(at)
        self.value = value
        self.type = type_


class Ident(Node):
    """A name. `key` is what evaluation looks up: the checker makes the names of local variables unique."""

    __slots__ = ("key", "name")

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name
        self.key = name


class Select(Node):
    """operand.field, operand.?field, has(operand.field)."""

    __slots__ = ("field", "operand", "optional", "test")

    def __init__(self, at: int, operand: Node, field: str, *, optional: bool = False, test: bool = False) -> None:
        super().__init__(at)
        self.operand = operand
        self.field = field
        self.optional = optional
        self.test = test


class Call(Node):
    """A function, operator or index. `overloads` are those that may apply, set by the checker."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(self, at: int, function: str, args: "list[Node]", target: Node | None = None) -> None:
        super().__init__(at)
        self.function = function
        self.args = args
        self.target = target
        self.overloads: tuple[Any, ...] = ()


class Logic(Node):
    """A chain of && or ||, flat: `operator` is one of the two."""

    __slots__ = ("operator", "terms")

    def __init__(self, at: int, operator: str, terms: list[Node]) -> None:
        super().__init__(at)
        self.operator = operator
        self.terms = terms


class Ternary(Node):
    """condition ? yes : no."""

    __slots__ = ("condition", "no", "yes")

    def __init__(self, at: int, condition: Node, yes: Node, no: Node) -> None:
        super().__init__(at)
        self.condition = condition
        self.yes = yes
        self.no = no


class ListLiteral(Node):
    """[a, ?b]: items, and the places of the optional ones."""

    __slots__ = ("items", "optional")

    def __init__(self, at: int, items: list[Node], optional: frozenset[int]) -> None:
        super().__init__(at)
        self.items = items
        self.optional = optional


class Entry:
    """One key: value of a map, or field: value of a message (then `key` is a str)."""

    __slots__ = ("at", "key", "optional", "value")

    def __init__(self, at: int, key: Any, value: Node, *, optional: bool) -> None:
        self.at = at
        self.key = key
        self.value = value
        self.optional = optional


class MapLiteral(Node):
    """{key: value, ?key: value}."""

    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[Entry]) -> None:
        super().__init__(at)
        self.entries = entries


class Message(Node):
    """Name{field: value}."""

    __slots__ = ("entries", "name")

    def __init__(self, at: int, name: str, entries: list[Entry]) -> None:
        super().__init__(at)
        self.name = name
        self.entries = entries


class Comprehension(Node):
    """range.macro(x, ...) or range.macro(i, x, ...).

    `macro` is all, exists, exists_one, map, filter, transformList, transformMap or transformMapEntry.
    `where` filters or decides, `transform` makes the element; None where the macro has no such part.
    """

    __slots__ = ("first", "keys", "macro", "range", "second", "transform", "where")

    def __init__(self, at: int, macro: str, range_: Node, names: tuple[str, str], parts: tuple[Any, Any]) -> None:
        super().__init__(at)
        self.macro = macro
        self.range = range_
        self.first, self.second = names
        self.where: Node | None = parts[0]
        self.transform: Node | None = parts[1]
        self.keys: tuple[str, str] = names


class Bind(Node):
    """cel.bind(name, init, body); also what optMap and optFlatMap are made of."""

    __slots__ = ("body", "init", "key", "name")

    def __init__(self, at: int, name: str, init: Node, body: Node) -> None:
        super().__init__(at)
        self.name = name
        self.init = init
        self.body = body
        self.key = name


NOWHERE = -1


class SourceError(Exception):
    """What is wrong with an expression, by offset: [(at, text)]; NOWHERE for the whole of it."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__(problems)
        self.problems = problems


def render(source: str, problems: list[tuple[int, str]]) -> str:
    """Problems as the reference implementation prints them, with the line and a caret."""
    return "\n".join(_one(source, at, text) for at, text in sorted(problems, key=lambda p: p[0]))


def _one(source: str, at: int, text: str) -> str:
    if at == NOWHERE:
        return f"ERROR: <input>:-1:0: {text}"
    start = source.rfind("\n", 0, at) + 1
    end = source.find("\n", at)
    line = source[start : len(source) if end < 0 else end].replace("\t", " ")
    number = source.count("\n", 0, at) + 1
    column = at - start
    dots = "".join("." if ord(c) < 0x1100 else "．" for c in line[:column].ljust(column))
    return f"ERROR: <input>:{number}:{column + 1}: {text}\n | {line}\n | {dots}^"
