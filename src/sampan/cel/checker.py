"""Types of every part of an expression, and what does not fit, in the reference implementation's words.

Annotates the tree: each node's type, the overloads a call may take, unique keys for local variables.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#gradual-type-checking
"""

from collections.abc import Mapping
from typing import Any

from sampan.cel import types
from sampan.cel.functions import Functions, Overload
from sampan.cel.syntax import (
    Bind,
    Call,
    Comprehension,
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
from sampan.cel.types import BOOL, DYN, ERROR, Type, list_of, map_of, optional_of
from sampan.cel.unify import Bindings, assignable, assignable_all, most_general, substitute

FORMAT = "format"
_TYPE_NAMES = {
    "bool": types.BOOL,
    "int": types.INT,
    "uint": types.UINT,
    "double": types.DOUBLE,
    "string": types.STRING,
    "bytes": types.BYTES,
    "null_type": types.NULL,
    "type": types.TYPE,
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "dyn": DYN,
    "optional_type": optional_of(DYN),
    "google.protobuf.Timestamp": types.TIMESTAMP,
    "google.protobuf.Duration": types.DURATION,
    "kubernetes.URL": types.URL,
    "kubernetes.Quantity": types.QUANTITY,
    "kubernetes.Semver": types.SEMVER,
    "net.IP": types.IP,
    "net.CIDR": types.CIDR,
}


class Checker:
    """One check. `used` collects the environment's variables that occur."""

    def __init__(self, variables: Mapping[str, Type], functions: Functions, *, mutation: bool) -> None:
        self.variables = variables
        self.functions = functions
        self.mutation = mutation
        self.bound: Bindings = {}
        self.locals: dict[str, list[tuple[str, Type]]] = {}
        self.problems: list[tuple[int, str]] = []
        self.used: set[str] = set()
        self.counter = 0
        self.formatting = 0  # how many format() are around: literals there may hold values of several types
        self.nodes: list[Node] = []

    def check(self, root: Node) -> Type:
        """The type of the whole. Raises SourceError with everything that is wrong."""
        self.visit(root)
        if self.problems:
            raise SourceError(self.problems)
        for node in self.nodes:
            node.type = substitute(self.bound, node.type, settle=True)
        return root.type

    def visit(self, node: Node) -> Type:
        """Check a part and keep its type."""
        if not isinstance(node, Const):
            node.type = _VISIT[type(node)](self, node)
            self.nodes.append(node)
        return node.type

    def fail(self, at: int, text: str) -> Type:
        self.problems.append((at, text))
        return ERROR

    def fresh(self) -> Type:
        self.counter += 1
        return Type("param", f"_var{self.counter}")

    def show(self, type_: Type) -> str:
        """A type as messages print it."""
        return str(substitute(self.bound, type_, settle=True))

    def fits(self, wanted: Type, given: Type) -> bool:
        return assignable(self.bound, wanted, given)

    def want(self, node: Node, wanted: Type) -> None:
        given = self.visit(node)
        if not self.fits(wanted, given):
            self.fail(node.at, f"expected type '{self.show(wanted)}' but found '{self.show(given)}'")

    # Names.

    def named(self, name: str) -> Type | None:
        if name in self.variables:
            self.used.add(name)
            return self.variables[name]
        if name in _TYPE_NAMES:
            return Type("type", params=(_TYPE_NAMES[name],))
        return None

    def undeclared(self, at: int, name: str) -> Type:
        return self.fail(at, f"undeclared reference to '{name}' (in container '')")

    def ident(self, node: Ident) -> Type:
        scopes = self.locals.get(node.name)
        if scopes:
            node.key, type_ = scopes[-1]
            return type_
        found = self.named(node.name)
        return self.undeclared(node.at, node.name) if found is None else found

    def declare(self, name: str, type_: Type) -> str:
        self.counter += 1
        key = f"{name}#{self.counter}"
        self.locals.setdefault(name, []).append((key, type_))
        return key

    def forget(self, *names: str) -> None:
        for name in names:
            self.locals[name].pop()

    # Fields.

    def select(self, node: Select) -> Type:
        name = _dotted(node)
        if name in _TYPE_NAMES and not node.test:
            return Type("type", params=(_TYPE_NAMES[name],))
        held = substitute(self.bound, self.visit(node.operand))
        is_optional = held.kind == "optional"
        found = self.field(node, held.params[0] if is_optional else held)
        if node.test:
            return BOOL
        return optional_of(found) if is_optional or node.optional else found

    def field(self, node: Select, held: Type) -> Type:
        if held.kind in {"dyn", "error"}:
            return DYN
        if held.kind == "param":
            self.fits(held, DYN)
            return DYN
        if held.kind == "map":
            return held.params[1]
        if held is types.AUTHORIZER and node.field == "requestResource":
            return types.RESOURCE_CHECK
        if held.kind != "object":
            return self.fail(node.at, f"type '{self.show(held)}' does not support field selection")
        found = self.message_field(held, node.field)
        return self.fail(node.at, f"undefined field '{node.field}'") if found is None else found

    def message_field(self, held: Type, name: str) -> Type | None:
        return DYN if held.name.partition(".")[0] == "Object" else held.field(name)

    # Calls.

    def call(self, node: Call) -> Type:
        if node.target is not None:
            qualified = f"{_dotted(node.target)}.{node.function}"
            if qualified in self.functions and not self.shadows(node.target):
                node.function, node.target = qualified, None
        self.formatting += node.function == FORMAT
        given = [self.visit(arg) for arg in node.args]
        if node.target is not None:
            given.insert(0, self.visit(node.target))
        self.formatting -= node.function == FORMAT
        overloads = self.functions.get(node.function)
        if overloads is None:
            return self.undeclared(node.at, node.function)
        return self.resolve(node, overloads, given)

    def shadows(self, target: Node) -> bool:
        while isinstance(target, Select):
            target = target.operand
        return isinstance(target, Ident) and (bool(self.locals.get(target.name)) or target.name in self.variables)

    def resolve(self, node: Call, overloads: tuple[Overload, ...], given: list[Type]) -> Type:
        result: Type | None = None
        matching = []
        for overload in overloads:
            if overload.member != (node.target is not None):
                continue
            params, returns = self.instance(overload)
            if not assignable_all(self.bound, params, given):
                continue
            matching.append(overload)
            # What comes out of something dynamic is dynamic, unless the signature says otherwise.
            found = substitute(self.bound, returns, settle=any(t.kind == "dyn" for t in given))
            result = found if result is None or result == found else DYN
        node.overloads = tuple(matching)
        if result is not None:
            return result
        shown = [self.show(t) for t in given]
        text = f"{shown[0]}.({', '.join(shown[1:])})" if node.target is not None else f"({', '.join(shown)})"
        return self.fail(node.at, f"found no matching overload for '{node.function}' applied to '{text}'")

    def instance(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        fresh: Bindings = {}
        for type_ in (*overload.params, overload.result):
            for param in _params(type_):
                fresh.setdefault(param, self.fresh())
        if not fresh:
            return overload.params, overload.result
        return tuple(substitute(fresh, p) for p in overload.params), substitute(fresh, overload.result)

    def logic(self, node: Logic) -> Type:
        given = [self.visit(term) for term in node.terms]
        if not all(self.fits(BOOL, t) for t in given):
            shown = ", ".join(self.show(t) for t in given)
            return self.fail(node.at, f"found no matching overload for '_{node.operator}_' applied to '({shown})'")
        return BOOL

    def ternary(self, node: Ternary) -> Type:
        given = [self.visit(part) for part in (node.condition, node.yes, node.no)]
        if self.fits(BOOL, given[0]) and self.fits(given[1], given[2]):
            return most_general(substitute(self.bound, given[1]), substitute(self.bound, given[2]))
        shown = ", ".join(self.show(t) for t in given)
        return self.fail(node.at, f"found no matching overload for '_?_:_' applied to '({shown})'")

    # Literals.

    def join(self, node: Node, joined: Type | None, *, optional: bool) -> Type | None:
        given = self.visit(node)
        if optional:
            given = substitute(self.bound, given)
            if given.kind == "optional":
                given = given.params[0]
            elif given.kind not in {"dyn", "error"}:
                self.fail(node.at, f"expected type 'optional_type({self.show(given)})' but found '{self.show(given)}'")
        if joined is None:
            return given
        if self.fits(joined, given):
            return most_general(substitute(self.bound, joined), substitute(self.bound, given))
        if self.formatting:
            return DYN
        self.fail(node.at, f"expected type '{self.show(joined)}' but found '{self.show(given)}'")
        return joined

    def list_literal(self, node: ListLiteral) -> Type:
        joined: Type | None = None
        for place, item in enumerate(node.items):
            joined = self.join(item, joined, optional=place in node.optional)
        return list_of(joined or self.fresh())

    def map_literal(self, node: MapLiteral) -> Type:
        keys: Type | None = None
        values: Type | None = None
        for entry in node.entries:
            keys = self.join(entry.key, keys, optional=False)
            values = self.join(entry.value, values, optional=entry.optional)
        return map_of(keys or self.fresh(), values or self.fresh())

    def message(self, node: Message) -> Type:
        held: Type | None = None
        if self.mutation and node.name == "JSONPatch":
            held = types.JSON_PATCH
        elif self.mutation and (node.name == "Object" or node.name.startswith("Object.")):
            held = Type("object", node.name)
        if held is None:
            held = self.undeclared(node.at, node.name)
        for entry in node.entries:
            self.message_entry(held, entry)
        return held

    def message_entry(self, held: Type, entry: Entry) -> None:
        given = self.visit(entry.value)
        if held is ERROR:
            return
        wanted = self.message_field(held, entry.key)
        if wanted is None:
            self.fail(entry.at, f"undefined field '{entry.key}'")
            return
        if entry.optional:
            wanted = optional_of(wanted)
        if not self.fits(wanted, given):
            self.fail(
                entry.at,
                f"expected type of field '{entry.key}' is '{self.show(wanted)}' "
                f"but provided type is '{self.show(given)}'",
            )

    # Comprehensions.

    def comprehension(self, node: Comprehension) -> Type:
        over = substitute(self.bound, self.visit(node.range))
        key, value = self.elements(node, over)
        if node.second:
            node.keys = (self.declare(node.first, key), self.declare(node.second, value))
        else:
            node.keys = (self.declare(node.first, key if over.kind == "map" else value), "")
        if node.where is not None:
            self.want(node.where, BOOL)
        made = None if node.transform is None else self.visit(node.transform)
        self.forget(node.first, *([node.second] if node.second else []))
        return self.comprehended(node, key, value if over.kind != "map" else key, made)

    def elements(self, node: Comprehension, over: Type) -> tuple[Type, Type]:
        if over.kind == "list":
            return types.INT, over.params[0]
        if over.kind == "map":
            return over.params[0], over.params[1]
        if over.kind == "param":
            self.fits(over, DYN)
        elif over.kind not in {"dyn", "error"}:
            self.fail(
                node.range.at,
                f"expression of type '{self.show(over)}' cannot be range of a comprehension "
                "(must be list, map, or dynamic)",
            )
            return ERROR, ERROR
        return DYN, DYN

    def comprehended(self, node: Comprehension, key: Type, value: Type, made: Type | None) -> Type:
        if node.macro in {"all", "exists", "exists_one"}:
            return BOOL
        if node.macro == "filter":
            return list_of(value)
        assert made is not None
        assert node.transform is not None
        if node.macro in {"map", "transformList"}:
            return list_of(made)
        if node.macro == "transformMap":
            return map_of(key, made)
        made = substitute(self.bound, made)
        if made.kind not in {"map", "dyn", "error"}:
            return self.fail(node.transform.at, f"expected type 'map(dyn, dyn)' but found '{self.show(made)}'")
        return made

    def bind(self, node: Bind) -> Type:
        given = self.visit(node.init)
        node.key = self.declare(node.name, given)
        found = self.visit(node.body)
        self.forget(node.name)
        return found


def _dotted(node: Node) -> str:
    parts: list[str] = []
    while isinstance(node, Select):
        parts.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, Ident) else ""


def _params(type_: Type) -> list[Type]:
    return [type_] if type_.kind == "param" else [p for below in type_.params for p in _params(below)]


_VISIT: dict[type, Any] = {
    Ident: Checker.ident,
    Select: Checker.select,
    Call: Checker.call,
    Logic: Checker.logic,
    Ternary: Checker.ternary,
    ListLiteral: Checker.list_literal,
    MapLiteral: Checker.map_literal,
    Message: Checker.message,
    Comprehension: Checker.comprehension,
    Bind: Checker.bind,
}
