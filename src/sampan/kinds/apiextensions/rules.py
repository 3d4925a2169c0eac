"""Rules in CEL (x-kubernetes-validations): compiled once for a schema, evaluated for each write.

A rule sees `self`, and `oldSelf` on updates where the old value can be told; a transition rule without an
old value is passed over. A value that did not change is not complained about again by rules that look at
`self` alone. All rules of an object share one budget.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sampan.cel import environment, program, types
from sampan.cel import values as cel_values
from sampan.cel.program import Program
from sampan.kinds.apiextensions import field_path, schema_validation, structural
from sampan.kinds.apiextensions.schema_validation import NOTHING, ROOT
from sampan.meta import objects, schema
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, required

Node = dict[str, Any]

MAX_MESSAGE_BYTES = 5 * 1024
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_MESSAGE_OUT_OF_BUDGET = (
    "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_BLOCKING = (
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
)


class Rules:
    """The rules of a schema and of all schemas in it. `root` says that it is a whole resource's."""

    def __init__(self, node: Node, *, root: bool) -> None:
        self._node = node
        self._root = root

    @cached_property
    def _tree(self) -> "_Level | None":
        if not has_rules(self._node):
            return None
        kind = schema.Type.from_crd(self._node) if self._root else schema.Type.from_openapi(self._node)
        return _level(self._node, self._node, types.of_schema(kind, root=self._root), root=self._root)

    def complete(self) -> None:
        """Compiles at once what is compiled when it is first needed."""
        _ = self._tree

    def causes(self, new: Any, old: Any, path: str = "", found: list[Cause] | None = None) -> list[Cause]:
        """What the rules say to a value; `old` is the stored one, None on create.

        `found` are the causes of the schema: where a value may not even have its type, rules are not asked.
        """
        tree = self._tree
        if tree is None:
            return []
        if any(cause.type in _BLOCKING for cause in found or ()):
            return [invalid_value(ROOT, "null", _UNCHECKED)]
        run = _Run(program.Budget())
        before = NOTHING if old is None else old
        with contextlib.suppress(_BudgetSpentError):
            run.visit(tree, new, before, _Where(path, before))
        return run.found


def has_rules(node: Any) -> bool:
    """Whether there is a rule anywhere in a schema, outside anyOf, oneOf and not."""
    if not isinstance(node, dict):
        return False
    if node.get("x-kubernetes-validations"):
        return True
    below = [node.get("items"), node.get("additionalProperties"), *(node.get("properties") or {}).values()]
    return any(has_rules(one) for one in below)


# Compiling


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `fault` says why it did not compile; `path` is where its complaint is filed, below the value."""

    node: Node
    program: Program | None
    message: Program | None
    fault: str
    message_fault: str
    kind: types.Type
    path: str

    @property
    def optional_old(self) -> bool:
        """Whether it is asked also where there is no old value, and sees it as an optional."""
        return bool(self.node.get("optionalOldSelf"))

    def old(self, value: Any) -> Any:
        """`oldSelf` for an old value, which may be NOTHING."""
        if not self.optional_old:
            return value
        return cel_values.NONE if value is NOTHING else cel_values.Optional(self.kind.coerce(value))

    @property
    def uses_old(self) -> bool:
        return self.program is not None and "oldSelf" in self.program.uses

    @property
    def shown(self) -> str:
        """What messages about the rule itself call it."""
        return (self.node.get("message") or self.node.get("rule") or "").strip()


@dataclass(frozen=True, slots=True)
class _Level:
    """The rules of one schema, and those of the schemas in it."""

    node: Node
    rules: tuple[Rule, ...]
    properties: dict[str, "_Level"]
    items: "_Level | None"
    values: "_Level | None"


def _level(node: Node, outer: Node, kind: types.Type | None, *, root: bool = False) -> _Level | None:
    if kind is None or not has_rules(node):
        return None
    items, others = structural.items_of(node), structural.others_of(node)
    properties = {}
    for name, below in structural.properties_of(node).items():
        made = _level(below, below, property_type(kind, name, below), root=_is_resource(below))
        if made is not None:
            properties[name] = made
    element = kind.params[-1] if kind.params else None
    return _Level(
        node,
        compile_rules(node, kind),
        properties,
        _level(items, items, element, root=_is_resource(items)) if items else None,
        _level(others, others, element, root=_is_resource(others)) if others else None,
    )


def _is_resource(node: Node) -> bool:
    return bool(node.get("x-kubernetes-embedded-resource"))


def property_type(kind: types.Type, name: str, node: Node) -> types.Type | None:
    escaped = types.escape(name)
    if escaped is not None:
        return kind.field(escaped)
    return types.of_schema(schema.Type.from_openapi(node), root=_is_resource(node))


def compile_rules(node: Node, kind: types.Type) -> tuple[Rule, ...]:
    """A schema's own rules; those that do not compile carry the reason."""
    return tuple(_compiled(rule, node, kind) for rule in node.get("x-kubernetes-validations") or ())


def _compiled(rule: Node, node: Node, kind: types.Type) -> Rule:
    optional = bool(rule.get("optionalOldSelf"))
    old = types.optional_of(kind) if optional else kind
    where = environment.Environment({"self": kind, "oldSelf": old})
    made, fault = _program(where, rule.get("rule") or "", types.BOOL)
    said: Program | None = None
    said_fault = ""
    if rule.get("messageExpression"):
        said, said_fault = _program(where, rule["messageExpression"], types.STRING)
    return Rule(rule, made, said, fault, said_fault, kind, _rule_path(rule, node))


def _program(where: environment.Environment, source: str, wanted: types.Type) -> tuple[Program | None, str]:
    """The program, or why there is none."""
    name = "cel expression" if wanted is types.BOOL else "messageExpression"
    prefix = "" if wanted is types.BOOL else "messageExpression "
    if not source.strip():
        return None, ""
    try:
        made = where.compile(source)
    except environment.CompileError as error:
        return None, prefix + str(error)
    if made.result_type != wanted:
        article = "a bool" if wanted is types.BOOL else "a string"
        return None, f"{name} must evaluate to {article}"
    return made, ""


def _rule_path(rule: Node, node: Node) -> str:
    if not rule.get("fieldPath"):
        return ""
    try:
        return field_path.find(rule["fieldPath"], node).path
    except field_path.PathError:
        return ""


# Evaluating


class _BudgetSpentError(Exception):
    """No further rules are run."""


@dataclass(frozen=True, slots=True)
class _Where:
    """A value's path; `match` is the old value it is compared with, `parent` says whether what holds it is unchanged."""

    path: str
    match: Any
    parent_same: bool = False

    @property
    def field(self) -> str:
        return self.path or ROOT


class _Run:
    """One evaluation of all rules."""

    def __init__(self, budget: program.Budget) -> None:
        self.budget = budget
        self.found: list[Cause] = []

    def visit(self, level: _Level | None, new: Any, old: Any, where: _Where) -> None:
        if level is None or new is None:
            return
        for rule in level.rules:
            self._judge(rule, level.node, new, old, where)
        if isinstance(new, list):
            if level.items is None:
                return
            for index, item in enumerate(new):
                before = schema_validation.old_item(level.node, old, item)
                match = schema_validation.old_item(level.node, where.match, item)
                below = _Where(f"{where.path}[{index}]", match, _is_same(where, new))
                self.visit(level.items, item, before, below)
        elif isinstance(new, dict):
            self._fields(level, new, old, where)

    def _fields(self, level: _Level, new: Node, old: Any, where: _Where) -> None:
        same = _is_same(where, new)
        for name, value in new.items():
            before = old.get(name, NOTHING) if isinstance(old, dict) else NOTHING
            match = where.match.get(name, NOTHING) if isinstance(where.match, dict) else NOTHING
            if name in level.properties:
                path = f"{where.path}.{name}" if where.path else name
                self.visit(level.properties[name], value, before, _Where(path, match, same))
            elif level.values is not None:
                self.visit(level.values, value, before, _Where(f"{where.path}[{name}]", match, same))

    def _judge(self, rule: Rule, node: Node, new: Any, old: Any, where: _Where) -> None:
        kind = node.get("type") or ""
        if rule.fault:
            self.found.append(invalid_value(where.field, kind, f"rule compile error: {rule.fault}"))
            return
        if rule.program is None:
            return
        old = NOTHING if old is None else old
        if rule.uses_old and old is NOTHING and not rule.optional_old:
            return
        variables = {"self": new}
        if rule.uses_old:
            variables["oldSelf"] = rule.old(old)
        try:
            if self._evaluate(rule, kind, variables, where) is not False:
                return
        except program.EvaluationError as error:
            text = f"{error} evaluating rule: {rule.shown}"
            if str(error).startswith("no such overload"):
                text = (
                    f"'{error}': call arguments did not match a supported operator, function or macro signature "
                    f"for rule: {rule.shown}"
                )
            self.found.append(invalid_value(where.field, kind, text))
            return
        detail = self._detail(rule, kind, variables, where)
        if rule.uses_old or not _is_ratcheted(where, new):
            self.found.append(_cause(rule, _joined(where.path, rule.path), kind, detail))

    def _evaluate(self, rule: Rule, kind: str, variables: Node, where: _Where) -> Any:
        assert rule.program is not None
        try:
            return rule.program.evaluate(variables, self.budget)
        except program.CostExceeded as error:
            text = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
            self.found.append(invalid_value(where.field, kind, text))
            raise _BudgetSpentError from error
        except program.BudgetExceeded as error:
            self.found.append(invalid_value(where.field, kind, _OUT_OF_BUDGET))
            raise _BudgetSpentError from error

    def _detail(self, rule: Rule, kind: str, variables: Node, where: _Where) -> str:
        """The message: the expression's where it gives one, else the rule's own, else the rule itself."""
        if rule.message is not None:
            try:
                text = rule.message.evaluate(variables, self.budget)
            except program.BudgetExceeded as error:
                self.found.append(invalid_value(where.field, kind, _MESSAGE_OUT_OF_BUDGET))
                raise _BudgetSpentError from error
            except program.CostExceeded as error:
                said = schema_validation.quoted(rule.node.get("messageExpression") or "")
                text = f"no further validation rules will be run due to call cost exceeds limit for messageExpression: {said}"
                self.found.append(invalid_value(where.field, kind, text))
                raise _BudgetSpentError from error
            except program.EvaluationError:
                text = ""  # as upstream: the static message takes its place
            text = text.strip() if isinstance(text, str) else ""
            if text and "\n" not in text and len(text.encode()) <= MAX_MESSAGE_BYTES:
                return str(text)
        message = (rule.node.get("message") or "").strip()
        return message or f"failed rule: {rule.shown}"


def _cause(rule: Rule, field: str, kind: str, detail: str) -> Cause:
    reason = rule.node.get("reason")
    if reason == "FieldValueForbidden":
        return forbidden_field(field, detail)
    if reason == "FieldValueRequired":
        return required(field, detail)
    return duplicate(field, kind) if reason == "FieldValueDuplicate" else invalid_value(field, kind, detail)


def _joined(path: str, below: str) -> str:
    if not below:
        return path or ROOT
    return f"{path}.{below}" if path and not below.startswith("[") else f"{path}{below}"


def _is_same(where: _Where, new: Any) -> bool:
    return where.parent_same if where.match is NOTHING else objects.same(where.match, new)


def _is_ratcheted(where: _Where, new: Any) -> bool:
    return _is_same(where, new)


def all_rules(level: Any) -> Iterator[Rule]:
    """Every rule of a compiled schema, for tests."""
    if level is not None:
        yield from level.rules
        for below in (*level.properties.values(), level.items, level.values):
            yield from all_rules(below)
