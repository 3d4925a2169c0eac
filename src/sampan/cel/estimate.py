"""What an expression can cost at most, before it runs: from the bounds that a schema declares.

Sizes and costs are (least, most) pairs that stop at 2**64 - 1, which stands for unknown. The charges are the
reference implementation's: they decide which rules a CustomResourceDefinition may contain.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#resource-use-by-validation-functions
"""

from collections.abc import Callable
from typing import Any

from sampan.cel import call_estimates
from sampan.cel.program import Cost
from sampan.cel.ranges import FREE, MOST, ONE, UNKNOWN, Range, add, fixed, times, union
from sampan.cel.syntax import (
    Bind,
    Call,
    Comprehension,
    Const,
    Ident,
    ListLiteral,
    Logic,
    MapLiteral,
    Message,
    Node,
    Select,
    Ternary,
)

_SCALARS = frozenset({"bool", "int", "uint", "double", "timestamp", "duration", "type"})
_LIST, _MAP, _MESSAGE = fixed(10), fixed(30), fixed(40)


def cost(tree: Node) -> Cost:
    """The estimate for a checked tree."""
    least, most = Estimator().cost(tree)
    return Cost(least, most)


class Estimator:
    """Sizes found so far, by node: `sizes` of the values, `entries` of their elements."""

    def __init__(self) -> None:
        self.sizes: dict[int, Range] = {}
        self.entries: dict[int, Range] = {}
        self.locals: dict[str, tuple[Range | None, Range | None]] = {}

    def cost(self, node: Node) -> Range:
        """What evaluating a node costs; keeps what is found out about its size."""
        found: Range = _COST[type(node)](self, node)
        return found

    def size(self, node: Node) -> Range:
        """The size of a node's value."""
        found = self._known_size(node)
        return UNKNOWN if found is None else found

    def _known_size(self, node: Node) -> Range | None:
        if id(node) in self.sizes:
            return self.sizes[id(node)]
        if isinstance(node, Const):
            return fixed(len(node.value)) if isinstance(node.value, str | bytes) else ONE
        if isinstance(node, ListLiteral):
            return (len(node.items) - len(node.optional), len(node.items))
        if isinstance(node, MapLiteral):
            return (len([e for e in node.entries if not e.optional]), len(node.entries))
        if node.type.max_size is not None:
            return (0, node.type.max_size)
        if node.type.kind in _SCALARS:
            return ONE
        if isinstance(node, Ident) and node.key in self.locals:
            return self.locals[node.key][0]
        return None

    def entry(self, node: Node) -> Range | None:
        """The size of a list's items or a map's values; None when nothing is known."""
        if id(node) in self.entries:
            return self.entries[id(node)]
        if isinstance(node, Ident) and node.key in self.locals:
            return self.locals[node.key][1]
        return None

    def const(self, node: Const) -> Range:
        return FREE

    def ident(self, node: Ident) -> Range:
        return ONE

    def select(self, node: Select) -> Range:
        below = self.cost(node.operand)
        if node.test or node.operand.type.kind not in {"map", "object"}:
            return below
        return add(below, ONE)

    def list_literal(self, node: ListLiteral) -> Range:
        total = _LIST
        for item in node.items:
            total = add(total, self.cost(item))
        if node.items:
            self.entries[id(node)] = union(*(self.size(item) for item in node.items))
        return total

    def map_literal(self, node: MapLiteral) -> Range:
        total = _MAP
        for entry in node.entries:
            total = add(total, add(self.cost(entry.key), self.cost(entry.value)))
        if node.entries:
            self.entries[id(node)] = union(*(self.size(entry.value) for entry in node.entries))
        return total

    def message(self, node: Message) -> Range:
        total = _MESSAGE
        for entry in node.entries:
            total = add(total, self.cost(entry.value))
        return total

    def logic(self, node: Logic) -> Range:
        costs = [self.cost(term) for term in node.terms]
        return (costs[0][0], min(sum(most for _, most in costs), MOST))

    def ternary(self, node: Ternary) -> Range:
        condition = self.cost(node.condition)
        chosen = union(self.cost(node.yes), self.cost(node.no))
        self.sizes[id(node)] = union(self.size(node.yes), self.size(node.no))
        one, other = self.entry(node.yes), self.entry(node.no)
        if one is not None and other is not None:
            self.entries[id(node)] = union(one, other)
        return add(condition, chosen)

    def bind(self, node: Bind) -> Range:
        total = add(_LIST, self.cost(node.init))
        self.locals[node.key] = (self._known_size(node.init), self.entry(node.init))
        total = add(total, self.cost(node.body))
        size, entry = self._known_size(node.body), self.entry(node.body)
        if size is not None:
            self.sizes[id(node)] = size
        if entry is not None:
            self.entries[id(node)] = entry
        return total

    def call(self, node: Call) -> Range:
        arguments = [self.cost(argument) for argument in node.args]
        total = FREE if node.target is None else self.cost(node.target)
        if node.function == "dyn":
            self.sizes[id(node)] = self.size(node.args[0])
            return add(ONE, arguments[0])
        found, size = call_estimates.estimate(self, node)
        for argument in arguments:
            total = add(total, argument)
        if size is not None:
            self.sizes[id(node)] = size
        return add(total, found)

    def comprehension(self, node: Comprehension) -> Range:
        over = self.cost(node.range)
        first, second = node.keys
        entry = self.entry(node.range)
        is_map = node.range.type.kind == "map"
        self.locals[first] = (None if second or is_map else entry, None)
        if second:
            self.locals[second] = (entry, None)
        where = FREE if node.where is None else self.cost(node.where)
        transform = FREE if node.transform is None else self.cost(node.transform)
        start, step, end = _loop(node, where, transform)
        count = self.size(node.range)
        if node.macro in {"map", "filter"} or node.macro.startswith("transform"):
            self.sizes[id(node)] = count
            made = entry if node.transform is None else self._known_size(node.transform)
            if made is not None:
                self.entries[id(node)] = made
        return add(add(over, add(start, end)), times(count, step))


def _loop(node: Comprehension, where: Range, transform: Range) -> tuple[Range, Range, Range]:
    """What starting, each step and ending of a macro's loop cost."""
    if node.macro == "all":
        return FREE, (3, min(3 + where[1], MOST)), ONE
    if node.macro == "exists":
        return FREE, (4, min(4 + where[1], MOST)), ONE
    if node.macro == "exists_one":
        return FREE, add(where, (1, 2)), fixed(2)
    if node.macro in {"transformMap", "transformMapEntry"}:
        step = add(transform, fixed(3 if node.macro == "transformMap" else 2))
        start = _MAP
    else:
        step, start = add(transform, fixed(12)), _LIST
        if node.macro == "filter":
            step = fixed(13)
    if node.where is not None:
        step = add(where, union(step, ONE))
    return start, step, ONE


_COST: dict[type, Callable[..., Any]] = {
    Const: Estimator.const,
    Ident: Estimator.ident,
    Select: Estimator.select,
    Call: Estimator.call,
    Logic: Estimator.logic,
    Ternary: Estimator.ternary,
    ListLiteral: Estimator.list_literal,
    MapLiteral: Estimator.map_literal,
    Message: Estimator.message,
    Comprehension: Estimator.comprehension,
    Bind: Estimator.bind,
}
