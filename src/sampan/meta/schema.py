"""The schema of every kind: definitions of the Kubernetes API as `Type` values, read lazily from one table.

`definition("io.k8s.api.apps.v1.Deployment")` answers for built-in kinds, `Type.from_openapi(dict)` for
the schema inside a CustomResourceDefinition. Types are made when first asked for and kept, so that
start-up pays only for what it uses. The table is written by scripts/make-definitions.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

import functools
from pathlib import Path
from typing import Any

import orjson

from sampan.meta import metrics_definitions

Node = dict[str, Any]

REF_PREFIX = "#/definitions/"
DATA = Path(__file__).parent / "data/definitions-1.36.tsv"

_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_DEVICES = "io.k8s.api.resource."

MILLI = "milli"
"""The format of quantities that are rounded up to thousandths."""


class Type:
    """The shape of one value in an object tree.

    `kind` is object, array, map, string, integer, number, boolean, int-or-string, quantity, time or any.
    `name` is the definition's name, "" for an inline schema. `fields` (objects) maps field names to
    types, and is empty for other kinds; `items` is the type of an array's items or a map's values. `list_type` is atomic, set or map
    (with `list_map_keys`), "" for a value that is no array; `map_type` is granular or atomic.
    `patch_strategy` ("merge", "retainKeys", "merge,retainKeys") and `patch_merge_key` rule strategic merge
    patch. An object or map with `preserve_unknown` keeps fields that the schema does not name.

    `fields` and `items` are made when somebody first asks for them; from then on they are attributes like the others,
    as every walk through an object asks for them at every step.
    """

    __slots__ = (
        "_node",
        "fields",
        "format",
        "items",
        "keeper",
        "kind",
        "list_map_keys",
        "list_type",
        "map_type",
        "name",
        "nullable",
        "patch_merge_key",
        "patch_strategy",
        "preserve_unknown",
        "required",
    )

    fields: "dict[str, Type]"
    items: "Type"

    def __init__(self, node: Node, name: str = "", outer: Node | None = None) -> None:
        """`outer` is the property that referred to this node: its extensions come first."""
        outer = node if outer is None else outer
        self._node = node
        self.keeper: Any = None  # meta.keeping has its compiled function here.
        self.name = name
        self.kind = _kind(node, name)
        self.format: str = node.get("format", "")
        self.required: tuple[str, ...] = tuple(node.get("required", ()))
        self.nullable = bool(node.get("nullable"))
        self.preserve_unknown = self.kind == "any" or bool(node.get("x-kubernetes-preserve-unknown-fields"))
        self.list_type: str = _extension(
            "x-kubernetes-list-type", outer, node, "atomic" if self.kind == "array" else ""
        )
        self.list_map_keys: tuple[str, ...] = tuple(_extension("x-kubernetes-list-map-keys", outer, node, ()))
        self.map_type: str = _extension("x-kubernetes-map-type", outer, node, "granular")
        self.patch_strategy: str = _extension("x-kubernetes-patch-strategy", outer, node, "")
        self.patch_merge_key: str = _extension("x-kubernetes-patch-merge-key", outer, node, "")

    @property
    def struct(self) -> str:
        """The bare name: Deployment for io.k8s.api.apps.v1.Deployment."""
        return self.name.rpartition(".")[2]

    @property
    def node(self) -> Node:
        """The schema itself, with descriptions; not to be changed."""
        return self._node

    def __getattr__(self, name: str) -> Any:
        """What is not there yet."""
        if name == "fields":
            self.fields = self._own_fields()
            return self.fields
        if name == "items":
            below = self._node.get("items") if self.kind == "array" else self._node.get("additionalProperties")
            self.items = _resolve(below) if isinstance(below, dict) else ANY
            return self.items
        raise AttributeError(name)

    def _own_fields(self) -> "dict[str, Type]":
        properties = self._node.get("properties", {})
        fields = {name: _resolve(node) for name, node in properties.items()} if self.kind == "object" else {}
        if self._node.get("x-kubernetes-embedded-resource"):
            fields |= _embedded()
        if not self.name.startswith(_DEVICES):
            for field in fields.values():
                if field.kind == "map" and field.items.name == _QUANTITY:
                    field.items = _amount()
        return fields

    @staticmethod
    def from_openapi(node: Node) -> "Type":
        """The type of a schema as written in a CustomResourceDefinition (openAPIV3Schema)."""
        return Type(node)

    @staticmethod
    def from_crd(node: Node) -> "Type":
        """Like `from_openapi` for a custom resource's root, whose apiVersion, kind and metadata are implied."""
        root = Type({"type": "object"} | node)
        root.fields = root.fields | _embedded()
        root.kind = "object"
        return root

    def unfold(self) -> None:
        """Makes the types of everything below at once, which else are made when they are first needed."""
        waiting = [self]
        while waiting:
            kind = waiting.pop()
            waiting += [below for below in (*kind.fields.values(), kind.items) if below is not ANY and not below.name]

    def __repr__(self) -> str:
        """Short, for failures and debuggers."""
        return f"Type({self.name or self.kind})"


@functools.cache
def definition(name: str) -> Type:
    """The type of that name, io.k8s.api.core.v1.Pod. KeyError when there is none."""
    return Type(_node(name), name)


@functools.cache
def definitions() -> dict[str, Node]:
    """Every definition by name, as OpenAPI v2 says it; not to be changed. Read in a few milliseconds."""
    names = [name.decode() for name in _places()]
    return {name: _node(name) for name in (*names, *metrics_definitions.DEFINITIONS)}


@functools.cache
def _node(name: str) -> Node:
    ours = metrics_definitions.DEFINITIONS.get(name)
    if ours is not None:
        return ours
    start, end = _places()[name.encode()]
    read: Node = orjson.loads(memoryview(_table())[start:end])
    return read


@functools.cache
def _table() -> bytes:
    return DATA.read_bytes()


@functools.cache
def _places() -> dict[bytes, tuple[int, int]]:
    """Where in the table each definition is: most processes need few, so each is read when it is asked for."""
    text, found, start = _table(), {}, 0
    while (tab := text.find(b"\t", start)) >= 0:
        end = text.index(b"\n", tab)
        found[text[start:tab]] = tab + 1, end
        start = end + 1
    return found


@functools.cache
def _amount() -> Type:
    """A quantity in a ResourceList, as every map of them is but those of devices."""
    made = Type(_node(_QUANTITY), _QUANTITY)
    made.format = MILLI
    return made


def _resolve(node: Node) -> Type:
    reference = node.get("$ref")
    if reference is None:
        return Type(node)
    found = definition(reference.removeprefix(REF_PREFIX))
    if any(key.startswith("x-kubernetes-") for key in node):
        return Type(found.node, found.name, node)
    return found


def _extension(name: str, outer: Node, node: Node, default: Any) -> Any:
    return outer.get(name, node.get(name, default))


def _kind(node: Node, name: str) -> str:
    if node.get("x-kubernetes-int-or-string") or name == _INT_OR_STRING or node.get("format") == "int-or-string":
        return "int-or-string"
    if name == _QUANTITY:
        return "quantity"
    given = node.get("type", "")
    if given == "string":
        return "time" if node.get("format") == "date-time" and name else "string"
    if given == "object" or (not given and "properties" in node):
        return _object_kind(node)
    return given if given in _PLAIN else "any"


_PLAIN = frozenset({"array", "integer", "number", "boolean"})


def _object_kind(node: Node) -> str:
    if "properties" in node or node.get("x-kubernetes-embedded-resource"):
        return "object"
    if "additionalProperties" in node:
        return "map" if node["additionalProperties"] is not False else "object"
    if "x-kubernetes-preserve-unknown-fields" in node or "description" in node:
        return "any"
    return "object"


def _embedded() -> dict[str, Type]:
    text = Type({"type": "string"})
    return {"apiVersion": text, "kind": text, "metadata": definition(_OBJECT_META)}


ANY = Type({})
