"""The definitions that a custom kind adds to the OpenAPI documents: the object and its list.

Version 3 says the schema as it was given, version 2 without what its readers cannot cope with: junctions,
nullable, and anything below an object that keeps unknown fields.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#publish-validation-schema-in-openapi
"""

from typing import Any

from sampan.kinds.kind import Kind
from sampan.meta import schema

Tree = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSION = "x-kubernetes-group-version-kind"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_JUNCTIONS = ("allOf", "oneOf", "anyOf", "not")
_DESCRIPTIONS = {
    "apiVersion": "apiVersion defines the versioned schema of this representation of an object. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    "kind": "kind is a string value representing the type of this object. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
}


def definitions(kind: Kind, form: int) -> dict[str, Tree]:
    """The object's and the list's definition by name, for OpenAPI version 2 or 3."""
    return {kind.schema: _object(kind, form), f"{kind.schema}List": _list(kind, form)}


def _object(kind: Kind, form: int) -> Tree:
    node = kind.type.node
    if (form == 2 and node.get(_PRESERVE)) or not _says_anything(node):
        made: Tree = {"type": "object"}
    else:
        made = _published(node, form)
        made["properties"] = {**_type_fields(), **(made.get("properties") or {}), **_type_fields()}
        made["properties"]["metadata"] = _reference("ObjectMeta", form, _object_text())
        _embedded(made, form)
    return made | {_EXTENSION: [{"group": kind.group, "version": kind.version, "kind": kind.name}]}


def _says_anything(node: Tree) -> bool:
    """A schema that only says `object` publishes nothing, so that clients do not refuse what it lets through."""
    return bool(node)


def _list(kind: Kind, form: int) -> Tree:
    text = f"List of {kind.plural}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
    items = {"description": text, "type": "array", "items": {"$ref": _ref(kind.schema, form)}}
    properties = {**_type_fields(), "items": items, "metadata": _reference("ListMeta", form, _list_text())}
    return {
        "description": f"{kind.list_kind} is a list of {kind.name}",
        "type": "object",
        "required": ["items"],
        "properties": properties,
        _EXTENSION: [{"group": kind.group, "version": kind.version, "kind": kind.list_kind}],
    }


def _type_fields() -> Tree:
    known = schema.definition("io.k8s.api.core.v1.Pod").node["properties"]
    return {name: known[name] for name in ("apiVersion", "kind")}


def _object_text() -> str:
    return "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"


def _list_text() -> str:
    return "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"


def _ref(name: str, form: int) -> str:
    return f"#/definitions/{name}" if form == 2 else f"#/components/schemas/{name}"


def _reference(name: str, form: int, text: str) -> Tree:
    target = {"$ref": _ref(_META + name, form)}
    return {"description": text, **target} if form == 2 else {"description": text, "allOf": [target]}


def _published(node: Tree, form: int) -> Tree:
    """A schema as it is published; a copy."""
    made = {key: value for key, value in node.items() if key not in _TREES and value is not None}
    if node.get("properties"):
        made["properties"] = {key: _published(below, form) for key, below in node["properties"].items()}
    for name in ("items", "additionalProperties"):
        below = node.get(name)
        if isinstance(below, dict):
            made[name] = _published(below, form)
        elif below is not None:
            made[name] = below
    if form == 2:
        return _for_version_2(made, node)
    for name in _JUNCTIONS:
        if node.get(name) is not None:
            made[name] = node[name]
    if node.get("x-kubernetes-int-or-string") and not node.get("anyOf") and not node.get("allOf"):
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


_TREES = frozenset({"properties", "items", "additionalProperties", *_JUNCTIONS})


def _for_version_2(made: Tree, node: Tree) -> Tree:
    """kubectl reads version 2, and cannot cope with items and properties of something untyped or open."""
    if node.get("nullable"):
        for name in ("type", "nullable", "items", "properties"):
            made.pop(name, None)
    if node.get(_PRESERVE):
        for name in ("items", "properties"):
            made.pop(name, None)
        if made.get("type") == "object":
            del made["type"]
    if made.get("type") == "array" and "items" not in made:
        del made["type"]
    nullable = [name for name, below in (node.get("properties") or {}).items() if below.get("nullable")]
    others = node.get("additionalProperties")
    if made.get("required") and (nullable or (isinstance(others, dict) and others.get("nullable"))):
        left = [] if not nullable else [name for name in made["required"] if name not in nullable]
        made.pop("required")
        if left:
            made["required"] = left
    return made


def _embedded(made: Tree, form: int) -> None:
    """Embedded objects have a type and metadata of their own, unless they are open and version 2 is written."""
    for below in (made.get("properties") or {}).values():
        _embedded(below, form)
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            _embedded(made[name], form)
    if not made.get("x-kubernetes-embedded-resource") or (form == 2 and made.get(_PRESERVE)):
        return
    properties = made.setdefault("properties", {})
    for name, known in _type_fields().items():
        properties[name] = {**known, "description": _DESCRIPTIONS[name]}
    properties["metadata"] = _reference("ObjectMeta", form, _object_text())
    required = made.get("required") or []
    made["required"] = [*required, *(name for name in ("kind", "apiVersion") if name not in required)]
