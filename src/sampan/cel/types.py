"""CEL's types: the scalars, lists, maps, objects with named fields, and the types that Kubernetes adds.

`of_schema` makes one from the schema of a kind. An object type's fields bear the names that expressions
use: `spec`, `x__dash__y` for x-y, `__namespace__` for namespace.

https://kubernetes.io/docs/reference/using-api/cel/#type-system-integration
"""

import re
from collections.abc import Callable, Mapping
from typing import Any


class Type:
    """One type. `kind` is its sort: dyn, bool, int, uint, double, string, bytes, null, timestamp, duration, type,
    list, map, object, optional, opaque or param. `name` tells objects, opaques and params apart; `params` are the
    types of items, of keys and values, or of an optional's value.

    `max_size` bounds the length of a string, list or map for estimates, None when unknown; `min_bytes` is the
    shortest that such a value can be in JSON. `list_type` (with `list_keys`) is a declared list's sort. `fields`
    are an object's, by the names that expressions use. `coercer` makes the CEL value of a JSON value, when it differs.
    """

    __slots__ = (
        "coercer",
        "fields",
        "kind",
        "list_keys",
        "list_type",
        "max_size",
        "min_bytes",
        "name",
        "params",
    )

    def __init__(self, kind: str, name: str = "", params: "tuple[Type, ...]" = ()) -> None:
        self.kind = kind
        self.name = name or kind
        self.params = params
        self.list_type = ""
        self.list_keys: tuple[str, ...] = ()
        self.coercer: Callable[[Any], Any] | None = None
        self.max_size: int | None = None
        self.min_bytes = 1
        self.fields: Mapping[str, Type] = {}

    def field(self, name: str) -> "Type | None":
        """The type of that field, None when the object has no such field."""
        return self.fields.get(name)

    def coerce(self, value: Any) -> Any:
        """The CEL value for a JSON value of this type; itself, unless the schema says otherwise."""
        return value if self.coercer is None else self.coercer(value)

    @property
    def is_coerced(self) -> bool:
        """Do values of this type, or parts of them, differ from what JSON has?"""
        return self.coercer is not None

    def __str__(self) -> str:
        """As messages print it: list(string), map(string, int), optional_type(dyn)."""
        if self.kind in {"timestamp", "duration", "null"}:
            return self.kind
        if self.kind == "list":
            return f"list({self.params[0]})"
        if self.kind == "map":
            return f"map({self.params[0]}, {self.params[1]})"
        if self.params:
            return f"{self.name}({', '.join(str(p) for p in self.params)})"
        return self.name

    def __repr__(self) -> str:
        """Short, for failures and debuggers."""
        return f"Type({self})"

    def __eq__(self, other: object) -> bool:
        """Equal in kind, name and parameters."""
        return self is other or (
            isinstance(other, Type)
            and self.kind == other.kind
            and self.name == other.name
            and self.params == other.params
        )

    def __hash__(self) -> int:
        """By kind, name and parameters."""
        return hash((self.kind, self.name, self.params))


DYN = Type("dyn")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
NULL = Type("null", "null_type")
TIMESTAMP = Type("timestamp", "google.protobuf.Timestamp")
DURATION = Type("duration", "google.protobuf.Duration")
TYPE = Type("type")
ERROR = Type("error", "!error!")

# What Kubernetes adds.
AUTHORIZER = Type("opaque", "kubernetes.authorization.Authorizer")
PATH_CHECK = Type("opaque", "kubernetes.authorization.PathCheck")
GROUP_CHECK = Type("opaque", "kubernetes.authorization.GroupCheck")
RESOURCE_CHECK = Type("opaque", "kubernetes.authorization.ResourceCheck")
DECISION = Type("opaque", "kubernetes.authorization.Decision")
URL = Type("opaque", "kubernetes.URL")
IP = Type("opaque", "net.IP")
CIDR = Type("opaque", "net.CIDR")
QUANTITY = Type("opaque", "kubernetes.Quantity")
SEMVER = Type("opaque", "kubernetes.Semver")
NAMED_FORMAT = Type("opaque", "kubernetes.NamedFormat")
JSON_PATCH = Type("object", "JSONPatch")
JSON_PATCH.fields = {"op": STRING, "path": STRING, "from": STRING, "value": DYN}
APPLY = Type("object", "Object")


def list_of(items: Type) -> Type:
    """list(items)."""
    return Type("list", params=(items,))


def map_of(keys: Type, values: Type) -> Type:
    """map(keys, values)."""
    return Type("map", params=(keys, values))


def optional_of(value: Type) -> Type:
    """optional_type(value)."""
    return Type("optional", "optional_type", (value,))


def object_of(name: str, fields: Mapping[str, Type]) -> Type:
    """An object type with exactly these fields, by the names that expressions use."""
    made = Type("object", name)
    made.fields = fields
    return made


def of_schema(schema: Any, name: str = "object", *, root: bool = False) -> Type | None:
    """The type of values of that `meta.schema.Type`; None when expressions can't reach such a value.

    `root`: the value is a whole resource, so apiVersion, kind, metadata.name and metadata.generateName are
    reachable whether or not the schema declares them. `name` is how messages call an object type.
    """
    from sampan.cel import declare

    return declare.of_schema(schema.node, name, root=root)


def max_cardinality(type_: Type) -> int:
    """How many values of the type fit into one request, at most: what an unbounded list or map multiplies costs by."""
    return 3 * 1024 * 1024 // (type_.min_bytes + 1)


def admission_request() -> Type:
    """The type of `request` in admission policies and match conditions."""
    from sampan.cel import declare

    return declare.admission_request()


def namespace_object() -> Type:
    """The type of `namespaceObject` in admission policies."""
    from sampan.cel import declare

    return declare.namespace_object()


# What the language keeps for itself; what it has a meaning for already comes on top.
RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
KEYWORDS = RESERVED | {"true", "false", "null", "in"}
_NAME = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*", re.ASCII)
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPED = re.compile(r"__(underscores|dot|dash|slash)__")
_UNESCAPES = {"underscores": "__", "dot": ".", "dash": "-", "slash": "/"}


def escape(name: str) -> str | None:
    """How an expression writes a property's name; None when it can't (`a b`, `1st`)."""
    if not _NAME.fullmatch(name):
        return None
    if name in KEYWORDS:
        return f"__{name}__"
    return re.sub(r"__|[./-]", lambda m: _ESCAPES[m.group()], name)


def unescape(name: str) -> str:
    """The property's name for what an expression wrote."""
    if "__" not in name:
        return name
    if name[:2] == "__" and name[2:-2] in KEYWORDS and name[-2:] == "__":
        return name[2:-2]
    return _ESCAPED.sub(lambda m: _UNESCAPES[m.group(1)], name)
