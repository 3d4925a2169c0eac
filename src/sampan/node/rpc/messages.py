"""proto3 messages as plain dicts, by tables of their fields: for what the node speaks with drivers and runtimes.

A table is text: a message's name, then a line for each field with its number, name and type.

    Device
      1 id string
      2 labels map<string,string>
      3 parts Part*            several
      4 limit int64?           absent is something else than zero (optional, or one of several)

Enums are int32. What was read has every field of its message: zero, empty, or None for a message that is absent.
Unknown fields are skipped; what is no such message raises Fault.

https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from sampan.meta.wire import protobuf_read, protobuf_write

Tree = dict[str, Any]
Fault = protobuf_read.Fault

MAX_DEPTH = 100
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_WIRES = {
    "bool": _VARINT,
    "int32": _VARINT,
    "int64": _VARINT,
    "uint32": _VARINT,
    "uint64": _VARINT,
    "double": _FIXED64,
    "float": _FIXED32,
}
_ZEROS: Mapping[str, Any] = {"string": "", "bytes": b"", "bool": False, "double": 0.0, "float": 0.0}


class Message:
    """A message: its bytes from a dict, and back."""

    __slots__ = ("_by_number", "_fields", "_names", "name")

    def __init__(self, name: str) -> None:
        """Without fields; `parse` adds them."""
        self.name = name
        self._fields: list[_Field] = []
        self._by_number: dict[int, _Field] = {}
        self._names: set[str] = set()

    def add(self, field: "_Field") -> None:
        """One more field."""
        self._fields.append(field)
        self._by_number[field.number] = field
        self._names.add(field.name)

    def read(self, data: bytes, depth: int = 0) -> Tree:
        """All the fields. Raises Fault."""
        if depth > MAX_DEPTH:
            raise Fault("proto: exceeded maximum recursion depth")
        tree = {field.name: field.zero() for field in self._fields}
        position = 0
        while position < len(data):
            tag, position = protobuf_read.varint(data, position)
            value, position = _value(data, position, tag & 7)
            field = self._by_number.get(tag >> 3)
            if field is not None:
                field.take(tree, tag & 7, value, depth)
            elif tag >> 3 == 0:
                raise Fault(f"proto: illegal tag 0 (wire type {tag & 7})")
        return tree

    def write(self, tree: Mapping[str, Any]) -> bytes:
        """The bytes; what is absent, None or zero is left out. Raises KeyError for a field that there isn't."""
        if not tree.keys() <= self._names:
            raise KeyError(f"{self.name} has no {', '.join(sorted(tree.keys() - self._names))}")
        out = bytearray()
        for field in self._fields:
            value = tree.get(field.name)
            if value is not None and (value or field.is_optional):
                field.put(out, value)
        return bytes(out)


class _Field:
    """One field. `kind` is a scalar's name, or a message."""

    __slots__ = ("is_optional", "is_repeated", "kind", "name", "number")

    def __init__(self, number: int, name: str, kind: "str | Message", mark: str = "") -> None:
        """`mark`: * for several, ? for one whose zero is told from its absence."""
        self.number, self.name, self.kind = number, name, kind
        self.is_repeated = mark == "*"
        self.is_optional = mark == "?" or (isinstance(kind, Message) and not self.is_repeated)

    def zero(self) -> Any:
        """Its value where it is absent."""
        if self.is_repeated:
            return []
        return None if self.is_optional else _ZEROS.get(str(self.kind), 0)

    def take(self, tree: Tree, wire: int, value: Any, depth: int) -> None:
        """Adds what was read."""
        expected = _wire(self.kind)
        if self.is_repeated and wire == _BYTES != expected:
            tree[self.name] += _unpacked(str(self.kind), value, expected)
        elif wire != expected:
            raise Fault(f"proto: wrong wireType = {wire} for field {self.name}")
        elif self.is_repeated:
            tree[self.name].append(_from_wire(self.kind, value, depth))
        else:
            tree[self.name] = _from_wire(self.kind, value, depth)

    def put(self, out: bytearray, value: Any) -> None:
        """Appends it."""
        if not self.is_repeated:
            _put(out, self.number, self.kind, value)
        elif _wire(self.kind) == _BYTES:
            for each in value:
                _put(out, self.number, self.kind, each)
        else:
            packed = b"".join(_to_wire(self.kind, each) for each in value)
            protobuf_write.delimited(out, self.number, packed)


class _Map(_Field):
    """A field that is a map: on the wire it is several messages of a key, 1, and a value, 2."""

    __slots__ = ("entry",)

    def __init__(self, number: int, name: str, key: str, value: "str | Message") -> None:
        """Of a scalar to a scalar or a message."""
        super().__init__(number, name, value)
        self.is_optional = False
        self.entry = Message(name)
        self.entry.add(_Field(1, "key", key))
        self.entry.add(_Field(2, "value", value))

    def zero(self) -> Any:
        return {}

    def take(self, tree: Tree, wire: int, value: Any, depth: int) -> None:
        if wire != _BYTES:
            raise Fault(f"proto: wrong wireType = {wire} for field {self.name}")
        entry = self.entry.read(value, depth + 1)
        if entry["value"] is None and isinstance(self.kind, Message):
            entry["value"] = self.kind.read(b"", depth + 1)
        tree[self.name][entry["key"]] = entry["value"]

    def put(self, out: bytearray, value: Any) -> None:
        for key in sorted(value):
            protobuf_write.delimited(out, self.number, self.entry.write({"key": key, "value": value[key]}))


def parse(text: str) -> dict[str, Message]:
    """The messages of a table, by name. Raises ValueError for a table that is none."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith(" "):
            found = rows.setdefault(line.strip(), [])
        elif line.strip():
            found.append(line)
    messages = {name: Message(name) for name in rows}
    for name, lines in rows.items():
        for line in lines:
            messages[name].add(_field(line, messages))
    return messages


def _field(line: str, messages: Mapping[str, Message]) -> _Field:
    number, name, kind = line.split()

    def known(kind: str) -> str | Message:
        if kind in messages:
            return messages[kind]
        if kind in _WIRES or kind in ("string", "bytes"):
            return kind
        raise ValueError(f"{line.strip()}: there is no {kind}")

    if kind.startswith("map<"):
        key, _, value = kind.removeprefix("map<").removesuffix(">").partition(",")
        return _Map(int(number), name, key, known(value))
    mark = kind[-1] if kind[-1] in "*?" else ""
    return _Field(int(number), name, known(kind.removesuffix(mark)), mark)


def _wire(kind: str | Message) -> int:
    return _WIRES.get(kind, _BYTES) if isinstance(kind, str) else _BYTES


def _value(data: bytes, position: int, wire: int) -> tuple[Any, int]:
    """A value as it is on the wire, a number or bytes, and the position after it."""
    if wire == _VARINT:
        return protobuf_read.varint(data, position)
    if wire == _BYTES:
        size, position = protobuf_read.varint(data, position)
    elif wire in _SIZES:
        size = _SIZES[wire]
    else:
        raise Fault(f"proto: illegal wireType {wire}")
    if position + size > len(data):
        raise Fault("unexpected EOF")
    return data[position : position + size], position + size


def _unpacked(kind: str, data: bytes, wire: int) -> list[Any]:
    found, position = [], 0
    while position < len(data):
        value, position = _value(data, position, wire)
        found.append(_from_wire(kind, value, 0))
    return found


def _from_wire(kind: str | Message, value: Any, depth: int) -> Any:
    return kind.read(value, depth + 1) if isinstance(kind, Message) else _READ[kind](value)


def _to_wire(kind: str | Message, value: Any) -> bytes:
    """Without its tag, and without the length of what has one."""
    if isinstance(kind, Message):
        return kind.write(value)
    if kind == "string":
        return str(value).encode()
    if kind == "bytes":
        return bytes(value)
    if kind in ("double", "float"):
        return struct.pack("<d" if kind == "double" else "<f", value)
    return protobuf_write.varint(int(value))


def _put(out: bytearray, number: int, kind: str | Message, value: Any) -> None:
    wire, data = _wire(kind), _to_wire(kind, value)
    if wire == _BYTES:
        protobuf_write.delimited(out, number, data)
    else:
        out += protobuf_write.varint(number << 3 | wire) + data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Fault("proto: field contains invalid UTF-8") from None


def _signed(bits: int) -> Callable[[int], int]:
    def convert(value: int) -> int:
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value

    return convert


_READ: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "bytes": bytes,
    "bool": bool,
    "int32": _signed(32),
    "int64": _signed(64),
    "uint32": lambda value: value & 0xFFFFFFFF,
    "uint64": int,
    "double": lambda data: struct.unpack("<d", data)[0],
    "float": lambda data: struct.unpack("<f", data)[0],
}
