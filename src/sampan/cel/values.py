"""Values at run time: what CEL has beyond Python's own, their equality and the names of their types.

bool, int, float, str, bytes, None, list and dict stand for themselves. Values that a schema coerces are views:
they make the CEL value of a part when it is asked for.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#values
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.cel import types

MIN_INT, MAX_INT = -(1 << 63), (1 << 63) - 1


class EvaluationError(Exception):
    """An expression's evaluation failed; the text is upstream's: "no such key: foo"."""


class Cancelled(EvaluationError):
    """Evaluation was cut short: no operator absorbs it."""


class CostExceeded(Cancelled):
    """One expression went over its own limit: "operation cancelled: actual cost limit exceeded"."""


class UInt(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment: nanoseconds since 1970 in UTC."""

    nanos: int


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds."""

    nanos: int


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value, by its name: type(1) is TypeValue("int")."""

    name: str


class Opaque:
    """A value of a Kubernetes library; `type` is its CEL type."""

    __slots__ = ()
    type: types.Type


class Optional:
    """optional.of(value), or none."""

    __slots__ = ("present", "value")

    def __init__(self, value: Any = None, *, present: bool = True) -> None:
        self.value = value
        self.present = present


NONE = Optional(present=False)


class Record(dict[str, Any]):
    """A message made by an expression: Object.spec{...}, JSONPatch{...}; `name` is its type's."""

    __slots__ = ("name",)

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.name = name

    def misnamed(self, path: str = "") -> list[str]:
        """Messages below whose type's name is not the path of fields that leads to them."""
        path = path or self.name
        found = []
        if self.name != path:
            found.append(
                f'unexpected type name "{self.name}", expected "{path}", '
                "which matches field name path from root Object type"
            )
        for name, value in self.items():
            for held in [value, *(value if isinstance(value, list) else ())]:
                if isinstance(held, Record):
                    found += held.misnamed(f"{path}.{name}")
        return found


class MapView(Mapping[str, Any]):
    """A JSON object whose parts are coerced as they are read: a map, or an object by its properties' names."""

    __slots__ = ("tree", "type")

    def __init__(self, tree: dict[str, Any], type_: types.Type) -> None:
        self.tree = tree
        self.type = type_

    def __getitem__(self, name: str) -> Any:
        if self.type.kind == "map":
            return self.type.params[1].coerce(self.tree[name])
        field = self.type.fields.get(name)
        if field is None:
            raise KeyError(name)
        return field.coerce(self.tree[types.unescape(name)])

    def __contains__(self, name: object) -> bool:
        if self.type.kind == "map":
            return name in self.tree
        return isinstance(name, str) and name in self.type.fields and types.unescape(name) in self.tree

    def __iter__(self) -> Iterator[str]:
        if self.type.kind == "map":
            return iter(self.tree)
        return (k for k in map(types.escape, self.tree) if k is not None and k in self.type.fields)

    def __len__(self) -> int:
        return len(self.tree)


class ListView(Sequence[Any]):
    """A JSON array whose items are coerced as they are read; sets and maps ignore the order when compared."""

    __slots__ = ("items", "type")

    def __init__(self, items: list[Any], type_: types.Type) -> None:
        self.items = items
        self.type = type_

    def __getitem__(self, index: Any) -> Any:
        return self.type.params[0].coerce(self.items[index])

    def __len__(self) -> int:
        return len(self.items)

    def key(self, item: Any) -> Any:
        """What tells items of a set or map apart."""
        if self.type.list_type != "map":
            return _hashable(item)
        return tuple(_hashable(item.get(k)) for k in self.type.list_keys) if isinstance(item, Mapping) else None

    def merged(self, other: Sequence[Any]) -> "ListView":
        """self + other: a set's new items are appended, a map's items with the same keys are replaced."""
        more = other.items if isinstance(other, ListView) else [plain(o) for o in other]
        if self.type.list_type not in {"set", "map"}:
            return ListView(self.items + more, self.type)
        items, places = list(self.items), {self.key(item): i for i, item in enumerate(self.items)}
        for item in more:
            place = places.setdefault(self.key(item), len(items))
            if place == len(items):
                items.append(item)
            else:
                items[place] = item
        return ListView(items, self.type)

    def equals(self, other: Sequence[Any]) -> bool:
        """Equality with another list, in the manner of this list's type."""
        if len(self.items) != len(other):
            return False
        if self.type.list_type not in {"set", "map"}:
            return all(equal(a, b) for a, b in zip(self, other, strict=True))
        more = other.items if isinstance(other, ListView) else [plain(o) for o in other]
        if self.type.list_type == "set":
            return {self.key(i) for i in more} <= {self.key(i) for i in self.items}
        mine = {self.key(item): item for item in self.items}
        coerce = self.type.params[0].coerce
        return all(
            self.key(item) in mine and equal(coerce(mine[self.key(item)]), theirs)
            for item, theirs in zip(more, other, strict=True)
        )


class Concatenation(Sequence[Any]):
    """left + right, without copying either: adding lists takes no time, however long they are."""

    __slots__ = ("left", "right", "size", "start")

    def __init__(self, left: Sequence[Any], right: Sequence[Any]) -> None:
        self.left = left
        self.right = right
        self.start = len(left)
        self.size = self.start + len(right)
        if self.size > _LONGEST_LIST:
            raise too_costly()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        held: Any = self
        while type(held) is Concatenation:
            held, index = (held.left, index) if index < held.start else (held.right, index - held.start)
        return held[index]

    def __iter__(self) -> Iterator[Any]:
        stack: list[Any] = [self]
        while stack:
            held = stack.pop()
            if type(held) is Concatenation:
                stack += (held.right, held.left)
            else:
                yield from held


def nodes(value: Any) -> int:
    """How many values there are in a tree; at least the number of those at its top when they are very many."""
    if isinstance(value, Mapping):
        return len(value) + sum(nodes(v) for v in value.values() if isinstance(v, Mapping | Sequence))
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return 1
    if len(value) > _MANY:
        return len(value)
    return len(value) + sum(nodes(v) for v in value if isinstance(v, Mapping | list | ListView | Concatenation))


_MANY = 10_000_000
_LONGEST_LIST = 1 << 40
_LARGEST_RESULT = 5_000_000


def too_costly() -> CostExceeded:
    """For a result so large that making it can't be afforded."""
    return CostExceeded("operation cancelled: actual cost limit exceeded")


def _hashable(value: Any) -> Any:
    """What is equal for equal parts of JSON trees, and for no others: to Python, true is 1."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return ("map", frozenset((name, _hashable(held)) for name, held in value.items()))
    if isinstance(value, list):
        return ("list", *map(_hashable, value))
    return value


_NUMBERS = (int, UInt, float)
_SCALARS = frozenset({str, int, float, bytes, UInt, Timestamp, Duration, TypeValue})


def equal(left: Any, right: Any) -> bool:
    """CEL's equality: numbers by value, lists and maps deep, other types never equal to one another."""
    one, other = type(left), type(right)
    if one is other and one in _SCALARS:
        return bool(left == right)
    if one is bool or other is bool:
        return one is other and left is right
    if one in _NUMBERS and other in _NUMBERS:
        return bool(left == right)
    if isinstance(left, ListView):
        return isinstance(right, Sequence) and not isinstance(right, str | bytes) and left.equals(right)
    if isinstance(left, list | Concatenation):
        return (
            isinstance(right, list | ListView | Concatenation)
            and len(left) == len(right)
            and all(map(equal, left, right))
        )
    if isinstance(left, Mapping):
        return isinstance(right, Mapping) and _equal_maps(left, right)
    if isinstance(left, Optional):
        return isinstance(right, Optional) and left.present == right.present and equal(left.value, right.value)
    return one is other and bool(left == right)


def _equal_maps(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    if isinstance(left, Record) and isinstance(right, Record) and left.name != right.name:
        return False
    if len(left) != len(right):
        return False
    if isinstance(left, MapView) and isinstance(right, MapView) and left.type.kind == "object":
        for name, field in left.type.fields.items():
            key = types.unescape(name)
            if (key in left.tree) != (key in right.tree):
                return False
            if key in left.tree and not equal(field.coerce(left.tree[key]), right.get(name)):
                return False
        known = {types.unescape(n) for n in left.type.fields}
        return all(k in right.tree and equal(v, right.tree[k]) for k, v in left.tree.items() if k not in known)
    return all(key in right and equal(value, right[key]) for key, value in left.items())


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
    list: "list",
    ListView: "list",
    Concatenation: "list",
    dict: "map",
    Optional: "optional_type",
}


def type_name(value: Any) -> str:
    """The name of a value's type, as type(value) and messages have it."""
    found = _NAMES.get(type(value))
    if found is not None:
        return found
    if isinstance(value, Record):
        return value.name
    if isinstance(value, MapView):
        return "map" if value.type.kind == "map" else value.type.name
    if isinstance(value, Opaque):
        return value.type.name
    return "map" if isinstance(value, Mapping) else type(value).__name__


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda v: type(v) is bool,
    "int": lambda v: type(v) is int,
    "uint": lambda v: type(v) is UInt,
    "double": lambda v: type(v) is float,
    "string": lambda v: type(v) is str,
    "bytes": lambda v: type(v) is bytes,
    "null": lambda v: v is None,
    "timestamp": lambda v: type(v) is Timestamp,
    "duration": lambda v: type(v) is Duration,
    "type": lambda v: type(v) is TypeValue,
    "list": lambda v: type(v) in {list, ListView, Concatenation},
    "map": lambda v: isinstance(v, Mapping),
    "object": lambda v: isinstance(v, Mapping),
    "optional": lambda v: type(v) is Optional,
}


def is_a(value: Any, type_: types.Type) -> bool:
    """Is it a value of that type, as far as choosing an overload at run time goes?"""
    check = _CHECKS.get(type_.kind)
    if check is None:
        return type_.kind != "opaque" or (isinstance(value, Opaque) and value.type == type_)
    if not check(value):
        return False
    if type_.kind == "list" and type_.params[0].kind not in {"dyn", "param"}:
        return len(value) > _MANY or all(is_a(v, type_.params[0]) for v in value)
    return True


def plain(value: Any) -> Any:
    """A value as a JSON tree. Raises CostExceeded when that would be out of proportion."""
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is int or kind is float:
        return value
    return _plain(value, [_LARGEST_RESULT])


def _plain(value: Any, left: list[int]) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is int or kind is float:
        return value
    if isinstance(value, ListView):
        return value.items
    if isinstance(value, MapView):
        return value.tree
    if kind is list or kind is Concatenation:
        _take(left, len(value))
        return [_plain(v, left) for v in value]
    if isinstance(value, Mapping):
        _take(left, len(value))
        return {_key(k): _plain(v, left) for k, v in value.items()}
    if kind is UInt:
        return int(value)
    if kind is Optional:
        return _plain(value.value, left) if value.present else None
    if kind is TypeValue:
        return value.name
    from sampan.cel import times

    return times.plain(value)


def _take(left: list[int], count: int) -> None:
    left[0] -= count
    if left[0] < 0:
        raise too_costly()


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is bool:
        return "true" if key else "false"
    return str(key)
