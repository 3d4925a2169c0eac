"""Which types go together: assignability with type parameters, and the most general of two types.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#gradual-type-checking
"""

from collections.abc import Sequence

from sampan.cel.types import DYN, Type

Bindings = dict[Type, Type]
Trail = list[tuple[Type, Type | None]]
_NULLABLE = frozenset({"object", "opaque", "optional", "timestamp", "duration", "null", "dyn"})


def assignable(bound: Bindings, wanted: Type, given: Type) -> bool:
    """May `given` stand where `wanted` is? Binds type variables if so, and leaves them alone if not."""
    return assignable_all(bound, (wanted,), (given,))


def assignable_all(bound: Bindings, wanted: Sequence[Type], given: Sequence[Type]) -> bool:
    """The same for parameters and arguments, all together."""
    if len(wanted) != len(given):
        return False
    trail: Trail = []
    if all(_assign(bound, trail, w, g) for w, g in zip(wanted, given, strict=True)):
        return True
    for param, before in reversed(trail):
        if before is None:
            del bound[param]
        else:
            bound[param] = before
    return False


def substitute(bound: Bindings, type_: Type, *, settle: bool = False) -> Type:
    """A type with its variables replaced by what they are bound to; `settle` makes free ones dyn."""
    if type_.kind == "param":
        found = bound.get(type_)
        if found is not None:
            return substitute(bound, found, settle=settle)
        return DYN if settle else type_
    if not type_.params:
        return type_
    params = tuple(substitute(bound, p, settle=settle) for p in type_.params)
    return type_ if all(a is b for a, b in zip(params, type_.params, strict=True)) else _with(type_, params)


def _with(type_: Type, params: tuple[Type, ...]) -> Type:
    made = Type(type_.kind, type_.name, params)
    made.max_size, made.min_bytes = type_.max_size, type_.min_bytes
    return made


def most_general(one: Type, other: Type) -> Type:
    """The more general of two types that go together: dyn, or the one with free parameters."""
    return one if _rank(one) <= _rank(other) else other


def _rank(type_: Type) -> int:
    if type_.kind in {"dyn", "error"}:
        return 0
    return 1 if any(_rank(p) == 0 for p in type_.params) else 2


def _assign(bound: Bindings, trail: Trail, wanted: Type, given: Type) -> bool:
    if wanted is given:
        return True
    if wanted.kind == "param":
        return _assign_param(bound, trail, wanted, given)
    if given.kind == "param":
        return _assign_param(bound, trail, given, wanted)
    if wanted.kind in {"dyn", "error"} or given.kind in {"dyn", "error"}:
        return True
    if given.kind == "null" and wanted.kind in _NULLABLE:
        return True
    if wanted.kind == "null" and given.kind in _NULLABLE:
        return True
    if wanted.kind != given.kind or (wanted.name != given.name and wanted.kind != "type"):
        return False
    if wanted.kind == "type":
        return True
    return len(wanted.params) == len(given.params) and all(
        _assign(bound, trail, w, g) for w, g in zip(wanted.params, given.params, strict=True)
    )


def _assign_param(bound: Bindings, trail: Trail, param: Type, other: Type) -> bool:
    known = bound.get(param)
    if known is not None:
        if known == other:
            return True
        if not _assign(bound, trail, known, other):
            return False
        trail.append((param, known))
        bound[param] = most_general(known, other)
        return True
    other = substitute(bound, other)
    if other == param:
        return True
    if _occurs(param, other):
        return False
    trail.append((param, None))
    bound[param] = other
    return True


def _occurs(param: Type, type_: Type) -> bool:
    return type_ == param or any(_occurs(param, p) for p in type_.params)
