"""A checked tree as Python closures: each takes the Frame of one evaluation and returns a value.

Every step adds what it costs to the frame; the reference implementation's charges are kept, and whatever can
repeat compares the sum with the limit.

https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints
"""

from collections.abc import Callable, Mapping
from typing import Any

from sampan.cel import comprehensions, maps, shown
from sampan.cel.frame import Frame, Run
from sampan.cel.functions import Overload
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
    Ternary,
)
from sampan.cel.types import Type
from sampan.cel.values import (
    MAX_INT,
    NONE,
    Cancelled,
    Duration,
    EvaluationError,
    Opaque,
    Optional,
    Record,
    Timestamp,
    TypeValue,
    UInt,
    is_a,
    type_name,
)

# What a library raises for a value that is not what its type says.
_UNFIT = (TypeError, AttributeError, LookupError)
_LIST_COST, _MAP_COST, _MESSAGE_COST = 10, 30, 40


def build(node: Node) -> Run:
    """The closure that evaluates a checked tree."""
    return _BUILD[type(node)](node)


def _const(node: Const) -> Run:
    value = node.value
    return lambda frame: value


def _ident(node: Ident) -> Run:
    key, name = node.key, node.name
    if node.type.kind == "type" and node.type.params and key == name:
        return _type_value(node.type.params[0], name)

    def run(frame: Frame) -> Any:
        frame.cost += 1
        try:
            return frame.variables[key]
        except KeyError:
            raise EvaluationError(f"no such attribute(s): {name}") from None

    return run


def _type_value(type_: Type, name: str) -> Run:
    value = TypeValue(name)

    def run(frame: Frame) -> Any:
        frame.cost += 1
        return frame.variables.get(name, value)

    return run


def get_field(value: Any, field: str) -> Any:
    """value.field; raises EvaluationError when it has none."""
    if type(value) is Optional:
        return maybe_field(value, field)
    if isinstance(value, Mapping):
        try:
            return value[field]
        except KeyError:
            raise EvaluationError(f"no such key: {field}") from None
    if isinstance(value, Opaque) and hasattr(value, "field"):
        return value.field(field)
    raise EvaluationError(f"no such key: {field}")


def has_field(value: Any, field: str) -> bool:
    """Is there a value.field?"""
    if type(value) is Optional:
        return value.present and has_field(value.value, field)
    return isinstance(value, Mapping) and field in value


def maybe_field(value: Any, field: str) -> Optional:
    """value.?field"""
    if type(value) is Optional:
        return maybe_field(value.value, field) if value.present else NONE
    if value is None:
        return NONE
    if not isinstance(value, Mapping):
        raise EvaluationError(f"no such key: {field}")
    return Optional(value[field]) if field in value else NONE


def _select(node: Select) -> Run:
    if node.type.kind == "type" and not node.test:
        return _type_value(node.type.params[0], str(node.type.params[0].name))
    operand, field = build(node.operand), node.field
    if node.test:
        if node.optional:
            return lambda frame: maybe_field(operand(frame), field).present
        return lambda frame: has_field(operand(frame), field)
    if node.optional:

        def optional(frame: Frame) -> Any:
            frame.cost += 1
            return maybe_field(operand(frame), field)

        return optional

    def run(frame: Frame) -> Any:
        frame.cost += 1
        value = operand(frame)
        if type(value) is dict:
            try:
                return value[field]
            except KeyError:
                raise EvaluationError(f"no such key: {field}") from None
        return get_field(value, field)

    return run


def _call(node: Call) -> Run:
    parts = ([] if node.target is None else [node.target]) + node.args
    arguments = [build(part) for part in parts]
    overloads = node.overloads
    certain = len(overloads) == 1 and _is_certain(overloads[0], parts)
    if certain and overloads[0].cost is None and len(arguments) <= 2:
        return _plain_call(node.function, overloads[0].run, arguments)
    name = node.function

    # Where a tree is not what its type says (null for a string), an argument is wrong as if it were dyn.
    def run(frame: Frame) -> Any:
        values = [argument(frame) for argument in arguments]
        overload = overloads[0] if certain else _choose(name, overloads, values)
        try:
            frame.cost += 1 if overload.cost is None else overload.cost(values)
            if frame.cost > frame.limit:
                frame.exceeded()
            return overload.run(*values)
        except _UNFIT:
            raise _no_overload(name, values) from None

    return run


def _plain_call(name: str, function: Callable[..., Any], arguments: list[Run]) -> Run:
    if len(arguments) == 1:
        only = arguments[0]

        def one(frame: Frame) -> Any:
            frame.cost += 1
            value = only(frame)
            try:
                return function(value)
            except _UNFIT:
                raise _no_overload(name, [value]) from None

        return one
    if len(arguments) == 2:
        left, right = arguments

        def two(frame: Frame) -> Any:
            frame.cost += 1
            one = left(frame)
            other = right(frame)
            try:
                return function(one, other)
            except _UNFIT:
                raise _no_overload(name, [one, other]) from None

        return two

    def none(frame: Frame) -> Any:
        frame.cost += 1
        return function()

    return none


def _is_certain(overload: Overload, parts: list[Node]) -> bool:
    """Do the static types alone prove that the arguments are right?"""
    return all(_proves(param, part.type) for param, part in zip(overload.params, parts, strict=True))


def _proves(param: Type, given: Type) -> bool:
    if param.kind in {"param", "dyn"}:
        return True
    if given.kind != param.kind or given.kind == "dyn":
        return False
    return all(_proves(p, g) for p, g in zip(param.params, given.params, strict=False))


def _choose(name: str, overloads: tuple[Overload, ...], values: list[Any]) -> Overload:
    for overload in overloads:
        if all(is_a(value, param) for value, param in zip(values, overload.params, strict=True)):
            return overload
    loose = _cross_numeric(name, overloads, values)
    if loose is not None:
        return loose
    raise _no_overload(name, values)


def _cross_numeric(name: str, overloads: tuple[Overload, ...], values: list[Any]) -> Overload | None:
    """Indexes may be any number that is whole."""
    if name in {"_[_]", "_[?_]"} and isinstance(values[1], UInt | float):
        index = int(values[1]) if abs(values[1]) < MAX_INT else -1
        if index == values[1]:
            values[1] = index
            return next((o for o in overloads if is_a(values[0], o.params[0]) and is_a(index, o.params[1])), None)
    return None


def _no_overload(name: str, values: list[Any]) -> EvaluationError:
    if not name[0].isalpha():
        return EvaluationError("no such overload")
    return EvaluationError(f"no such overload: {name}({', '.join(type_name(v) for v in values)})")


def _logic(node: Logic) -> Run:
    terms = [build(term) for term in node.terms]
    decisive = node.operator == "||"

    def run(frame: Frame) -> Any:
        failure: EvaluationError | None = None
        try:
            for term in terms:
                try:
                    value = term(frame)
                except Cancelled:
                    raise
                except EvaluationError as wrong:
                    failure = failure or wrong
                    continue
                if value is decisive:
                    return decisive
                if value is True or value is False:
                    continue
                failure = failure or EvaluationError("no such overload")
            if failure is not None:
                raise failure
            return not decisive
        finally:
            del failure  # which knows the call that knows it: no circle is left

    return run


def _ternary(node: Ternary) -> Run:
    condition, yes, no = build(node.condition), build(node.yes), build(node.no)

    def run(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return yes(frame)
        if value is False:
            return no(frame)
        raise EvaluationError("no such overload")

    return run


def _list(node: ListLiteral) -> Run:
    items = [build(item) for item in node.items]
    if all(isinstance(item, Const) for item in node.items) and not node.optional:
        constant = [item.value for item in node.items if isinstance(item, Const)]
        return lambda frame: constant
    optional = node.optional

    def run(frame: Frame) -> Any:
        frame.cost += _LIST_COST
        if not optional:
            return [item(frame) for item in items]
        made = []
        for place, item in enumerate(items):
            value = item(frame)
            if place not in optional:
                made.append(value)
            elif _held(value).present:
                made.append(value.value)
        return made

    return run


def _held(value: Any) -> Optional:
    if type(value) is Optional:
        return value
    raise EvaluationError(f"cannot initialize optional list element from non-optional value {shown.text(value)}")


_KEYS = frozenset({str, int, bool, UInt, float, Timestamp, Duration, TypeValue, bytes})


def _map(node: MapLiteral) -> Run:
    entries = [(build(e.key), build(e.value), e.optional) for e in node.entries]

    def run(frame: Frame) -> Any:
        frame.cost += _MAP_COST
        made = maps.Maker()
        for key, value, optional in entries:
            name, held = key(frame), value(frame)
            if type(name) not in _KEYS:
                raise EvaluationError(f"unsupported key type: {type_name(name)}")
            if optional:
                if not _held(held).present:
                    made.drop(name)
                    continue
                held = held.value
            made.put(name, held)
        return made.made()

    return run


def _message(node: Message) -> Run:
    name = node.name
    entries = [(_field_name(name, e), build(e.value), e.optional) for e in node.entries]

    def run(frame: Frame) -> Any:
        frame.cost += _MESSAGE_COST
        fields: dict[str, Any] = {}
        for key, value, optional in entries:
            held = value(frame)
            if optional:
                if not _held(held).present:
                    continue
                held = held.value
            if name == "JSONPatch" and key != "value" and type(held) is not str:
                raise EvaluationError(f"unexpected type {type_name(held)} for JSONPatchType '{key}' field")
            fields[key] = held
        return Record(name, fields)

    return run


def _field_name(message: str, entry: Entry) -> str:
    return str(entry.key)


def _bind(node: Bind) -> Run:
    init, body, key = build(node.init), build(node.body), node.key

    def run(frame: Frame) -> Any:
        frame.cost += _LIST_COST
        frame.variables[key] = init(frame)
        return body(frame)

    return run


def _comprehension(node: Comprehension) -> Run:
    where = None if node.where is None else build(node.where)
    transform = None if node.transform is None else build(node.transform)
    return comprehensions.build(node, build(node.range), where, transform)


_BUILD: dict[type, Callable[[Any], Run]] = {
    Const: _const,
    Ident: _ident,
    Select: _select,
    Call: _call,
    Logic: _logic,
    Ternary: _ternary,
    ListLiteral: _list,
    MapLiteral: _map,
    Message: _message,
    Comprehension: _comprehension,
    Bind: _bind,
}
