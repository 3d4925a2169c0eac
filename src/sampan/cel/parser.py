"""Source text to syntax tree, by precedence climbing; macros become nodes in cel.macros.

Long chains stay flat or iterative, so that only real nesting takes stack.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from sampan.cel import macros, types
from sampan.cel.lexer import Token, tokens
from sampan.cel.syntax import (
    NOWHERE,
    Call,
    Const,
    Entry,
    Ident,
    ListLiteral,
    Logic,
    MapLiteral,
    Message,
    Node,
    Select,
    SourceError,
    Ternary,
)
from sampan.cel.values import UInt

_MAX_DEPTH = 250
_MAX_SIZE = 100_000
_MAX_INT = (1 << 63) - 1
_START = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_AFTER = "{<EOF>, '==', '!=', '<', '<=', '>=', '>', '&&', '||', '[', '{', '(', '.', '-', '?', '+', '*', '/', '%%'}"
_BINARY = {
    "==": (3, "_==_"),
    "!=": (3, "_!=_"),
    "<": (3, "_<_"),
    "<=": (3, "_<=_"),
    ">": (3, "_>_"),
    ">=": (3, "_>=_"),
    "in": (3, "@in"),
    "+": (4, "_+_"),
    "-": (4, "_-_"),
    "*": (5, "_*_"),
    "/": (5, "_/_"),
    "%": (5, "_%_"),
}
_LITERALS = {"true": (True, types.BOOL), "false": (False, types.BOOL), "null": (None, types.NULL)}


def parse(source: str) -> Node:
    """The syntax tree of an expression. Raises SourceError."""
    if len(source) > _MAX_SIZE:
        text = f"expression code point size exceeds limit: size: {len(source)}, limit {_MAX_SIZE}"
        raise SourceError([(NOWHERE, text)])
    try:
        return _Parser(tokens(source)).whole()
    except RecursionError:
        raise SourceError([(NOWHERE, f"expression recursion limit exceeded: {_MAX_DEPTH}")]) from None


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.place = 0
        self.next = found[0]
        self.depth = 0

    def whole(self) -> Node:
        node = self.expression()
        if self.next.kind != "end":
            kind = "extraneous" if self.next.kind in {")", "]", "}", ",", ":"} else "mismatched"
            self.fail(f"Syntax error: {kind} input '{self.next.text}' expecting <EOF>")
        return node

    def fail(self, text: str, at: int | None = None) -> None:
        raise SourceError([(self.next.at if at is None else at, text)])

    def take(self) -> Token:
        token = self.next
        self.place += 1
        self.next = self.tokens[min(self.place, len(self.tokens) - 1)]
        return token

    def skip(self, kind: str) -> bool:
        if self.next.kind != kind:
            return False
        self.take()
        return True

    def expect(self, kind: str) -> Token:
        if self.next.kind != kind:
            wanted = f"'{kind}'" if kind != "name" else "IDENTIFIER"
            self.fail(f"Syntax error: mismatched input '{self.next.text}' expecting {wanted}")
        return self.take()

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"expression recursion limit exceeded: {_MAX_DEPTH}", NOWHERE)
        node = self.either()
        if self.next.kind == "?":
            at = self.take().at
            yes = self.either()
            self.expect(":")
            node = Ternary(at, node, yes, self.expression())
        self.depth -= 1
        return node

    def either(self) -> Node:
        terms, at = [self.both()], 0
        while self.next.kind == "||":
            at = self.take().at
            terms.append(self.both())
        return terms[0] if len(terms) == 1 else Logic(at, "||", terms)

    def both(self) -> Node:
        terms, at = [self.binary(3)], 0
        while self.next.kind == "&&":
            at = self.take().at
            terms.append(self.binary(3))
        return terms[0] if len(terms) == 1 else Logic(at, "&&", terms)

    def binary(self, lowest: int) -> Node:
        left = self.unary()
        while True:
            operator = _BINARY.get(self.next.text) if self.next.kind not in {"string", "bytes"} else None
            if operator is None or operator[0] < lowest:
                return left
            at = self.take().at
            left = Call(at, operator[1], [left, self.binary(operator[0] + 1)])

    def unary(self) -> Node:
        if self.next.kind not in {"!", "-"}:
            return self.member()
        sign = self.take()
        count = 1
        while self.next.kind == sign.kind:
            self.take()
            count += 1
        if sign.kind == "-" and self.next.kind in {"int", "float"} and count % 2:
            return self.member(negative=True)
        operand = self.member()
        return operand if count % 2 == 0 else Call(sign.at, "!_" if sign.kind == "!" else "-_", [operand])

    def member(self, *, negative: bool = False) -> Node:
        node = self.primary(negative=negative)
        while True:
            if self.next.kind == ".":
                node = self.dot(node)
            elif self.next.kind == "[":
                at = self.take().at
                optional = self.skip("?")
                index = self.expression()
                self.expect("]")
                node = Call(at, "_[?_]" if optional else "_[_]", [node, index])
            elif self.next.kind == "{" and (name := _qualified(node)):
                node = Message(self.next.at, name, self.entries(message=True))
            else:
                return node

    def dot(self, node: Node) -> Node:
        at = self.take().at
        optional = self.skip("?")
        field = self.expect("name")
        if self.next.kind == "(" and not optional:
            open_at = self.take().at
            arguments = self.arguments(")")
            return macros.expand(open_at, field.text, node, arguments) or Call(open_at, field.text, arguments, node)
        if field.text in _LITERALS or field.text == "in":
            self.fail(f"Syntax error: mismatched input '{field.text}' expecting IDENTIFIER", field.at)
        return Select(at, node, field.text, optional=optional)

    def arguments(self, close: str) -> list[Node]:
        found: list[Node] = []
        while not self.skip(close):
            if found:
                self.expect(",")
            found.append(self.expression())
        return found

    def primary(self, *, negative: bool) -> Node:
        token = self.take()
        kind = token.kind
        if kind in {"int", "uint", "float", "string", "bytes"}:
            return self.literal(token, negative=negative)
        if kind == "(":
            node = self.expression()
            self.expect(")")
            return node
        if kind == "[":
            return self.list_literal(token.at)
        if kind == "{":
            self.place -= 1
            self.next = token
            return MapLiteral(token.at, self.entries(message=False))
        if kind == ".":
            token = self.expect("name")
            kind = "name"
        if kind == "name" and token.text != "in":
            return self.name(token)
        self.fail(f"Syntax error: mismatched input '{token.text}' expecting {_START}", token.at)
        raise AssertionError

    def name(self, token: Token) -> Node:
        if token.text in _LITERALS:
            value, type_ = _LITERALS[token.text]
            return Const(token.at, value, type_)
        if self.next.kind == "(":
            at = self.take().at
            arguments = self.arguments(")")
            return macros.expand(at, token.text, None, arguments) or Call(at, token.text, arguments)
        if token.text in types.RESERVED:
            self.fail(f"reserved identifier: {token.text}", token.at)
        return Ident(token.at, token.text)

    def literal(self, token: Token, *, negative: bool) -> Node:
        value = token.value
        if token.kind == "int":
            value = -value if negative else value
            if not -_MAX_INT - 1 <= value <= _MAX_INT:
                self.fail("invalid int literal", token.at)
            return Const(token.at, value, types.INT)
        if token.kind == "float":
            return Const(token.at, -value if negative else value, types.DOUBLE)
        if token.kind == "uint":
            return Const(token.at, UInt(value), types.UINT)
        return Const(token.at, value, types.BYTES if token.kind == "bytes" else types.STRING)

    def list_literal(self, at: int) -> Node:
        items: list[Node] = []
        optional = set()
        while not self.skip("]"):
            if items:
                self.expect(",")
                if self.skip("]"):
                    break
            if self.skip("?"):
                optional.add(len(items))
            items.append(self.expression())
        return ListLiteral(at, items, frozenset(optional))

    def entries(self, *, message: bool) -> list[Entry]:
        self.expect("{")
        found: list[Entry] = []
        while not self.skip("}"):
            if found:
                self.expect(",")
                if self.skip("}"):
                    break
            optional = self.skip("?")
            key = self.expect("name").text if message else self.expression()
            at = self.expect(":").at
            found.append(Entry(at, key, self.expression(), optional=optional))
        return found


def _qualified(node: Node) -> str:
    parts: list[str] = []
    while isinstance(node, Select) and not (node.optional or node.test):
        parts.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, Ident) else ""
