"""Rules in a CustomResourceDefinition: they compile, they are cheap enough, and they can find what they compare.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#resource-use-by-validation-functions
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sampan.cel import program, types
from sampan.kinds.apiextensions import rules
from sampan.meta import schema
from sampan.meta.status import Cause, forbidden_field, invalid_value

Node = dict[str, Any]

MAX_REQUEST_BYTES = 3 * 1024 * 1024
_TOP = 4


@dataclass(frozen=True, slots=True)
class Scope:
    """What `self` is at a place in the schema, and how often a rule there may run in one object.

    `kind` is None where rules cannot reach; `times` is None below an unbounded list or map.
    """

    kind: types.Type | None
    times: int | None = 1

    def field(self, name: str, node: Node) -> "Scope":
        return replace(self, kind=None if self.kind is None else rules.property_type(self.kind, name, node))

    def items(self, node: Node) -> "Scope":
        return self._element(node.get("maxItems"))

    def values(self, node: Node) -> "Scope":
        return self._element(node.get("maxProperties"))

    def _element(self, most: int | None) -> "Scope":
        element = self.kind.params[-1] if self.kind is not None and self.kind.params else None
        times = None if self.times is None or most is None else self.times * most
        return Scope(element, times)

    @property
    def runs(self) -> int:
        """How often a rule may run at most: where nothing bounds it, what fits into a request does."""
        if self.times is not None:
            return self.times
        least = 1 if self.kind is None else self.kind.min_bytes
        return MAX_REQUEST_BYTES // (least + 1)


class Costs:
    """The estimated cost of all rules of a schema."""

    def __init__(self) -> None:
        self.total = 0
        self.expensive: list[tuple[int, str]] = []

    def add(self, path: str, cost: int) -> None:
        self.total += cost
        if cost >= program.CRD_ESTIMATE_LIMIT // 100:
            self.expensive = sorted([*self.expensive, (cost, path)], key=lambda entry: -entry[0])[:_TOP]

    def causes(self, path: str) -> list[Cause]:
        """When all together are too much."""
        if self.total <= program.CRD_ESTIMATE_LIMIT:
            return []
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found = [forbidden_field(where, text) for _, where in self.expensive]
        return [*found, forbidden_field(path, program.excess_text(name, self.total, program.CRD_ESTIMATE_LIMIT))]


@dataclass(frozen=True, slots=True)
class Check:
    """The rules of one schema. `uncorrelated` is the path below which old values cannot be told, "" for none."""

    path: str
    scope: Scope
    uncorrelated: str
    suppress_cost: bool

    def causes(self, node: Node, costs: Costs) -> list[Cause]:
        if self.scope.kind is None:
            where = f"{self.path}.x-kubernetes-validations"
            text = "internal error: failed to retrieve type information for x-kubernetes-validations"
            return [Cause(where, "InternalError", f"Internal error: {text}")]
        compiled = rules.compile_rules(node, self.scope.kind)
        return [c for index, rule in enumerate(compiled) for c in self._rule(rule, index, costs)]

    def _rule(self, rule: rules.Rule, index: int, costs: Costs) -> Iterator[Cause]:
        where = f"{self.path}.x-kubernetes-validations[{index}]"
        yield from self._cost(rule.program, f"{where}.rule", "estimated rule cost", costs, self.scope.runs)
        if rule.fault:
            yield invalid_value(f"{where}.rule", rule.node, rule.fault)
        if rule.message_fault:
            yield invalid_value(f"{where}.messageExpression", rule.node, rule.message_fault)
        yield from self._cost(rule.message, f"{where}.messageExpression", "estimated messageExpression cost", costs, 1)
        if rule.uses_old and self.uncorrelated:
            text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {self.uncorrelated}"
            yield invalid_value(f"{where}.rule", rule.node["rule"], text)
        elif not rule.uses_old and rule.node.get("optionalOldSelf") is not None and not rule.fault:
            text = "may not be set if oldSelf is not used in rule"
            yield invalid_value(f"{where}.optionalOldSelf", rule.node["optionalOldSelf"], text)

    def _cost(self, made: program.Program | None, where: str, name: str, costs: Costs, runs: int) -> Iterator[Cause]:
        if made is None:
            return
        cost = made.cost.max * runs
        costs.add(where, cost)
        if cost > program.ESTIMATE_LIMIT and not self.suppress_cost:
            yield forbidden_field(where, program.excess_text(name, cost, program.ESTIMATE_LIMIT))


def root_scope(node: Node) -> Scope | None:
    """Where the walk through a schema begins; None when there are no rules in it."""
    if not rules.has_rules(node):
        return None
    return Scope(types.of_schema(schema.Type.from_crd(node), root=True))
