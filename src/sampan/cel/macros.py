"""Macros: calls that the parser turns into syntax of their own, such as has, all, map and cel.bind.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#macros
"""

from sampan.cel.syntax import Bind, Call, Comprehension, Ident, Node, Select, SourceError, Ternary

_ONE = {("all", 2), ("exists", 2), ("exists_one", 2), ("existsOne", 2), ("map", 2), ("map", 3), ("filter", 2)}
_TWO = {
    ("all", 3),
    ("exists", 3),
    ("exists_one", 3),
    ("existsOne", 3),
    ("transformList", 3),
    ("transformList", 4),
    ("transformMap", 3),
    ("transformMap", 4),
    ("transformMapEntry", 3),
    ("transformMapEntry", 4),
}


def expand(at: int, name: str, target: Node | None, args: list[Node]) -> Node | None:
    """What a call stands for when it is a macro's; None for an ordinary call."""
    if target is None:
        return _has(at, args) if name == "has" and len(args) == 1 else None
    if name == "bind" and len(args) == 3 and isinstance(target, Ident) and target.name == "cel":
        variable = _variable(args[0], "cel.bind() variable names must be simple identifiers")
        return Bind(at, variable, args[1], args[2])
    if name in {"optMap", "optFlatMap"} and len(args) == 2:
        return _opt_map(at, name, target, args)
    if (name, len(args)) in _ONE:
        return _one(at, name, target, args)
    if (name, len(args)) in _TWO:
        return _two(at, name, target, args)
    return None


def _has(at: int, args: list[Node]) -> Node:
    field = args[0]
    if not isinstance(field, Select) or field.test:
        raise SourceError([(field.at, "invalid argument to has() macro")])
    return Select(at, field.operand, field.field, optional=field.optional, test=True)


def _variable(node: Node, text: str = "argument must be a simple name") -> str:
    if not isinstance(node, Ident):
        raise SourceError([(node.at, text)])
    if node.name in {"__result__", "@result"}:
        raise SourceError([(node.at, f"iteration variable overwrites accumulator variable: {node.name}")])
    return node.name


def _one(at: int, name: str, target: Node, args: list[Node]) -> Node:
    names = (_variable(args[0], "argument must be a simple name"), "")
    if name == "map":
        where, transform = (None, args[1]) if len(args) == 2 else (args[1], args[2])
        return Comprehension(at, "map", target, names, (where, transform))
    return Comprehension(at, "exists_one" if name == "existsOne" else name, target, names, (args[1], None))


def _two(at: int, name: str, target: Node, args: list[Node]) -> Node:
    names = (_variable(args[0]), _variable(args[1]))
    if names[0] == names[1]:
        raise SourceError([(args[1].at, f"duplicate variable name: {names[0]}")])
    if not name.startswith("transform"):
        return Comprehension(at, "exists_one" if name == "existsOne" else name, target, names, (args[2], None))
    where, transform = (None, args[2]) if len(args) == 3 else (args[2], args[3])
    return Comprehension(at, name, target, names, (where, transform))


def _opt_map(at: int, name: str, target: Node, args: list[Node]) -> Node:
    variable = _variable(args[0], f"{name}() variable name must be a simple identifier")
    held = "@target"
    value = Bind(at, variable, Call(at, "value", [], Ident(at, held)), args[1])
    some: Node = Call(at, "optional.of", [value]) if name == "optMap" else value
    none = Call(at, "optional.none", [])
    return Bind(at, held, target, Ternary(at, Call(at, "hasValue", [], Ident(at, held)), some, none))
