"""Which number and type each field has on the protobuf wire: messages by name, read lazily from one table.

The table (written by scripts/make-definitions) lists [number, JSON name, type, flags] for each field.
Flags: r repeated; i inline, its own fields standing in the parent's JSON object; z a zero value means
that the field is absent.

https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representation-of-resources
"""

import functools
import zlib
from pathlib import Path
from typing import Any

import orjson

DATA = Path(__file__).parent.parent / "data/protobuf-1.36.json.zlib"
META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_FAR_GROUPS = {
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
    "internal.apiserver.k8s.io": "k8s.io.api.apiserverinternal",
    "meta.k8s.io": "k8s.io.apimachinery.pkg.apis.meta",
}


_SAID_AS = {("policy", "v1beta1", "Eviction"): "v1"}
"""Bodies of a version that is served no more and still taken: in which one their message is."""


class Field:
    """One field of a message. `kind` is a scalar's name or a message's; for a map the kind of its values."""

    __slots__ = ("inline", "is_map", "kind", "name", "number", "repeated", "zero_is_absent")

    def __init__(self, number: int, name: str, kind: str, flags: str = "") -> None:
        """One row of the table."""
        self.number = number
        self.name = name
        self.is_map = kind.startswith("map<")
        self.kind = kind.removeprefix("map<string,").removesuffix(">") if self.is_map else kind
        self.repeated = "r" in flags
        self.inline = "i" in flags
        self.zero_is_absent = "z" in flags


class Message:
    """A message: its fields in the order of their numbers, and by number."""

    __slots__ = ("by_number", "fields", "name")

    def __init__(self, name: str, rows: list[list[Any]]) -> None:
        """`rows` as the table has them, in any order."""
        self.name = name
        self.fields = tuple(Field(*row) for row in sorted(rows))
        self.by_number = {field.number: field for field in self.fields}


@functools.cache
def message(name: str) -> Message:
    """The message of that name. KeyError when there is none."""
    return Message(name, rows()[name])


@functools.cache
def plain_fields(definition: str) -> frozenset[str]:
    """The fields of a built-in type (io.k8s.api.core.v1.Pod) whose zero is nothing, in JSON as well."""
    name = "k8s.io." + definition.removeprefix("io.k8s.").replace("-", "_")
    return _plain(name) if name in rows() else frozenset()


def _plain(name: str) -> frozenset[str]:
    found: set[str] = set()
    for field in message(name).fields:
        if field.inline:
            found |= _plain(field.kind)
        elif field.zero_is_absent:
            found.add(field.name)
    return frozenset(found)


@functools.cache
def rows() -> dict[str, list[list[Any]]]:
    """The whole table, as it is shipped."""
    loaded: dict[str, list[list[Any]]] = orjson.loads(zlib.decompress(DATA.read_bytes()))
    return loaded


@functools.cache
def message_for(group: str, version: str, kind: str) -> str | None:
    """The message of an API kind: ("apps", "v1", "Deployment"), also lists, Status and options; else None."""
    version = _SAID_AS.get((group, version, kind), version)
    package = _FAR_GROUPS.get(group) or f"k8s.io.api.{group.partition('.')[0] or 'core'}"
    for name in (f"{package}.{version}.{kind}", META + kind):
        if name in rows():
            return name
    return None
