"""Macros over lists and maps at run time: all, exists, exists_one, map, filter, and the transforms.

The charges are those of the loops that the reference implementation makes of these macros.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#macros
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sampan.cel import maps, shown
from sampan.cel.frame import Frame, Run
from sampan.cel.syntax import Comprehension
from sampan.cel.values import Cancelled, EvaluationError, type_name

_ALL, _EXISTS, _APPEND, _INSERT = 3, 4, 12, 3
_NEW_LIST, _NEW_MAP = 11, 31


class _Loop:
    """A range with the keys of its variables."""

    __slots__ = ("first", "range", "second")

    def __init__(self, node: Comprehension, range_: Run) -> None:
        self.range = range_
        self.first, self.second = node.keys

    def over(self, frame: Frame) -> Iterator[Any]:
        """Set the variables for each element in turn; yields the key (two variables) or the element."""
        held = self.range(frame)
        variables, limit, first = frame.variables, frame.limit, self.first
        for key, value in _pairs(held, two=bool(self.second)):
            variables[first] = key
            if self.second:
                variables[self.second] = value
            if frame.cost > limit:
                frame.exceeded()
            yield key


def _pairs(held: Any, *, two: bool) -> Iterator[tuple[Any, Any]]:
    if isinstance(held, Mapping):
        return iter(held.items()) if two else ((key, None) for key in held)
    if isinstance(held, Sequence) and not isinstance(held, str | bytes):
        return iter(enumerate(held)) if two else ((item, None) for item in held)
    raise EvaluationError(f"got '{type_name(held)}', expected iterable type")


def build(node: Comprehension, range_: Run, where: Run | None, transform: Run | None) -> Run:
    """The closure of a comprehension, given those of its parts."""
    loop = _Loop(node, range_)
    run: Run = _BUILD[node.macro](loop, where, transform)
    return run


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError("no such overload")


def _decide(decisive: bool, charge: int) -> Callable[[_Loop, Run, Any], Run]:
    def made(loop: _Loop, where: Run, _: Any) -> Run:
        def run(frame: Frame) -> bool:
            frame.cost += 1
            failure: EvaluationError | None = None
            try:
                for _ in loop.over(frame):
                    frame.cost += charge
                    try:
                        if _boolean(where(frame)) is decisive:
                            return decisive
                    except Cancelled:
                        raise
                    except EvaluationError as wrong:
                        failure = failure or wrong
                if failure is not None:
                    raise failure
                return not decisive
            finally:
                del failure  # which knows the call that knows it: no circle is left

        return run

    return made


def _exists_one(loop: _Loop, where: Run, _: Any) -> Run:
    def run(frame: Frame) -> bool:
        frame.cost += 2
        count = 0
        for _ in loop.over(frame):
            chosen = _boolean(where(frame))
            frame.cost += 2 if chosen else 1
            count += chosen
        return count == 1

    return run


def _chosen(where: Run | None, frame: Frame) -> bool:
    if where is None or _boolean(where(frame)):
        return True
    frame.cost += 1
    return False


def _map(loop: _Loop, where: Run | None, transform: Run) -> Run:
    def run(frame: Frame) -> list[Any]:
        frame.cost += _NEW_LIST
        made = []
        for _ in loop.over(frame):
            if _chosen(where, frame):
                made.append(transform(frame))
                frame.cost += _APPEND
        return made

    return run


def _filter(loop: _Loop, where: Run, _: Any) -> Run:
    def run(frame: Frame) -> list[Any]:
        frame.cost += _NEW_LIST
        made = []
        for item in loop.over(frame):
            if _chosen(where, frame):
                made.append(item)
                frame.cost += _APPEND + 1
        return made

    return run


def _transform_map(loop: _Loop, where: Run | None, transform: Run) -> Run:
    def run(frame: Frame) -> Mapping[Any, Any]:
        frame.cost += _NEW_MAP
        made = maps.Maker()
        for key in loop.over(frame):
            if _chosen(where, frame):
                _insert(made, key, transform(frame))
                frame.cost += _INSERT
        return made.made()

    return run


def _transform_entry(loop: _Loop, where: Run | None, transform: Run) -> Run:
    def run(frame: Frame) -> Mapping[Any, Any]:
        frame.cost += _NEW_MAP
        made = maps.Maker()
        for _ in loop.over(frame):
            if not _chosen(where, frame):
                continue
            entries = transform(frame)
            if not isinstance(entries, Mapping):
                raise EvaluationError("no such overload")
            frame.cost += _INSERT - 1
            for key, value in entries.items():
                _insert(made, key, value)
        return made.made()

    return run


def _insert(made: maps.Maker, key: Any, value: Any) -> None:
    if key in made:
        raise EvaluationError(f"insert failed: key {shown.text(key)} already exists")
    made.put(key, value)


_BUILD: dict[str, Any] = {
    "all": _decide(False, _ALL),
    "exists": _decide(True, _EXISTS),
    "exists_one": _exists_one,
    "map": _map,
    "transformList": _map,
    "filter": _filter,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entry,
}
