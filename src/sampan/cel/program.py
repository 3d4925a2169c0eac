"""A compiled expression: what it evaluates to, what it may cost, and its evaluation within a budget.

Evaluation is plain Python over JSON trees; it never blocks and never goes on for longer than its budget.

https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.cel import patience, types
from sampan.cel.frame import Frame, Run
from sampan.cel.values import NONE, Cancelled, CostExceeded, EvaluationError, Optional, Record, plain

PER_CALL_LIMIT = 1_000_000
OBJECT_LIMIT = 10_000_000
MATCH_CONDITIONS_LIMIT = 2_500_000
ESTIMATE_LIMIT = 10_000_000
CRD_ESTIMATE_LIMIT = 100_000_000

__all__ = [
    "Authorizer",
    "Budget",
    "BudgetExceeded",
    "Check",
    "Cost",
    "CostExceeded",
    "Decision",
    "EvaluationError",
    "Lazy",
    "Program",
]


def excess_text(name: str, cost: int, limit: int) -> str:
    """How a cost that is over a limit is reported: NAME exceeds budget by factor of more than 100x (...)."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


class BudgetExceeded(Cancelled):
    """All expressions together went over the budget: "validation failed due to running out of cost budget, ..."."""


class Budget:
    """What may still be spent at run time by all expressions that share it; `per_call` bounds each one."""

    def __init__(self, limit: int = OBJECT_LIMIT, per_call: int = PER_CALL_LIMIT) -> None:
        self.remaining = limit
        self.per_call = per_call

    def spend(self, cost: int) -> None:
        """Take the cost of an evaluation. Raises BudgetExceeded once there is too little left."""
        self.remaining -= cost
        if self.remaining < 0:
            raise BudgetExceeded(
                "validation failed due to running out of cost budget, no further validation rules will be run"
            )


@dataclass(frozen=True, slots=True)
class Cost:
    """The estimated cost of one evaluation, between `min` and `max`."""

    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Check:
    """What `authorizer...check(verb)` asks: `path` alone for a non-resource check, else the resource's attributes.

    `user` is "" for the requester, else system:serviceaccount:NAMESPACE:NAME. Selectors are as given, "" when not.
    """

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a Check; `error` is "" unless deciding failed."""

    allowed: bool
    reason: str = ""
    error: str = ""


class Authorizer:
    """The value of the variable `authorizer` (and `authorizer.requestResource`, if `resource` is given).

    `decide` is called synchronously for each `.check()`.
    """

    def __init__(self, decide: Callable[[Check], Decision], resource: Check | None = None) -> None:
        self.decide = decide
        self.resource = resource


class Lazy(Mapping[str, Any]):
    """The value of `variables`: each is evaluated at its first use, once, at the expense of the same budget.

    `programs` by variable name; `activation` holds the other variables (object, request, params ...).
    A failure is raised as: composited variable "NAME" fails to evaluate: TEXT.
    """

    def __init__(
        self, programs: "Mapping[str, Program]", activation: Mapping[str, Any], budget: Budget | None = None
    ) -> None:
        self._programs = programs
        self._activation = {**activation, "variables": self}
        self._budget = budget
        self._values: dict[str, Any] = {}
        self._failures: dict[str, EvaluationError] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._failures:
            raise self._failures[name]
        if name not in self._values:
            try:
                self._values[name] = self._programs[name].value(self._activation, self._budget)
            except Cancelled:
                raise
            except EvaluationError as wrong:
                self._failures[name] = EvaluationError(f'composited variable "{name}" fails to evaluate: {wrong}')
                raise self._failures[name] from None
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)


class Program:
    """A compiled expression. Programs have no state and may be shared and kept.

    `source` is the expression, `result_type` what it evaluates to, `cost` the estimate from the schema's bounds.
    `uses` names the environment's variables that occur in it (for example to see whether `oldSelf` is used).
    """

    __slots__ = ("_declared", "_run", "cost", "result_type", "source", "uses")

    def __init__(
        self, source: str, run: Run, result_type: types.Type, cost: Cost, declared: Mapping[str, types.Type]
    ) -> None:
        """`declared` are the variables that occur, with their types."""
        self.source = source
        self.result_type = result_type
        self.cost = cost
        self.uses = frozenset(declared)
        self._run = run
        self._declared = tuple(declared.items())

    def evaluate(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The value over these variables (JSON trees), as a JSON tree.

        A variable of an optional type is given as its value, or None. The result may share parts with the variables.
        Timestamps, durations and bytes come as the strings that JSON has for them; an optional as its value
        or None. Raises EvaluationError; CostExceeded and BudgetExceeded are the sorts that concern the budget.
        """
        value = self.value(variables, budget)
        if isinstance(value, Record) and value.name == "Object":
            wrong = value.misnamed()
            if wrong:
                raise EvaluationError(f"type mismatch: {wrong[0]}")
        return plain(value)

    def value(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """Like `evaluate`, with CEL's own values (cel.values) where JSON has none."""
        limit = PER_CALL_LIMIT if budget is None else min(budget.per_call, budget.remaining)
        hurry = patience.left()
        frame = Frame({}, limit if hurry is None else min(limit, hurry))
        failure: EvaluationError | None = None
        value = None
        try:
            for name, type_ in self._declared:
                if name in variables:
                    frame.variables[name] = _entering(variables[name], type_)
            value = self._run(frame)
        except RecursionError:
            failure = EvaluationError("expression recursion limit exceeded: 250")
        except EvaluationError as wrong:
            failure = wrong
        try:
            if hurry is not None:
                patience.spend(frame.cost)
            if budget is not None:
                budget.spend(frame.cost)
            if frame.cost > limit:
                frame.exceeded()
            if failure is not None:
                raise failure
            return value
        finally:
            del failure  # which knows the call that knows it: no circle is left


def _entering(value: Any, type_: types.Type) -> Any:
    if isinstance(value, Authorizer):
        from sampan.cel.library import authorizer

        return authorizer.entering(value)
    if type_.kind == "optional" and not isinstance(value, Optional):
        return NONE if value is None else Optional(type_.params[0].coerce(value))
    return type_.coerce(value)
