"""What a schema in a CustomResourceDefinition may say, with the words and places of upstream.

First the schema must be structural, then its defaults must fit it, then the OpenAPI keywords and the
extensions are checked, and last, where all that is well, its rules in CEL.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sampan.kinds.apiextensions import crd_spec, default_rules, field_path, rule_rules, structural
from sampan.kinds.apiextensions.values import META_FIELDS
from sampan.meta import objects
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

Node = dict[str, Any]

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_NOT_EVEN_EMPTY = ("additionalItems", "dependencies")
_AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where the walk is. `no_default` says why defaults are forbidden here, `uncorrelated` the path from which on
    old values cannot be found, `cel` what rules here may name (None where there is nothing to check them by).
    """

    path: str
    root: bool = False
    in_meta: bool = False
    no_default: str = ""
    uncorrelated: str = ""
    cel: rule_rules.Scope | None = None

    def at(self, step: str, cel: rule_rules.Scope | None = None) -> "Place":
        return replace(self, path=f"{self.path}{step}", root=False, cel=cel)


def causes(part: crd_spec.Part, old: Node | None) -> list[Cause]:
    """All causes about one schema; `old` is the stored one of the same version."""
    node = part.value
    if not isinstance(node, dict):
        return []
    try:
        return _causes(part, node, unchanged=objects.same(old, node))
    except RecursionError:
        return [invalid_value(part.path, "", "is nested too deeply")]


def _causes(part: crd_spec.Part, node: Node, *, unchanged: bool) -> list[Cause]:
    found = list(_root(node, part))
    unfit = structural.causes(node, part.path)
    wrong_defaults = [] if unfit else default_rules.causes(node, part.path)
    found += unfit or wrong_defaults
    scope = None if unfit or wrong_defaults else rule_rules.root_scope(node)
    walk = _Walk(suppress_cost=unchanged)
    walk.visit(node, Place(part.path, root=True, cel=scope))
    found += walk.schema + walk.cel + walk.costs.causes(part.path)
    if not found and any(below.get("$schema") for below in crd_spec.nodes(node)):
        found.append(invalid_value(part.path, "", "OpenAPIV3Schema 'schema' is not supported"))
    return found


def _root(node: Node, part: crd_spec.Part) -> Iterator[Cause]:
    if part.status:
        if node.get("type") not in (None, "", "object"):
            text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            yield invalid_value(f"{part.path}.type", node["type"], text)
        elif any(key not in _AT_ROOT for key, value in node.items() if value not in (None, "", False, [], {})):
            allowed = " ".join(_AT_ROOT.values())
            text = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            yield invalid_value(part.path, node, text)
    if node.get("nullable"):
        yield forbidden_field(f"{part.path}.nullable", "nullable cannot be true at the root")


class _Walk:
    """Goes through a schema and collects causes; rules are only looked at where the schema below is fine."""

    def __init__(self, *, suppress_cost: bool) -> None:
        self.schema: list[Cause] = []
        self.cel: list[Cause] = []
        self.costs = rule_rules.Costs()
        self._suppress_cost = suppress_cost

    def visit(self, node: Any, place: Place) -> None:
        if not isinstance(node, dict):
            return
        before = len(self.schema)
        self.schema += _keywords(node, place)
        self._below(node, place)
        self.schema += _extensions(node, place.path)
        self.schema += _list_keys(node, place.path)
        self.schema += _rule_forms(node, place.path)
        if node.get("x-kubernetes-validations") and place.cel is not None and len(self.schema) == before:
            check = rule_rules.Check(place.path, place.cel, place.uncorrelated, self._suppress_cost)
            self.cel += check.causes(node, self.costs)

    def _below(self, node: Node, place: Place) -> None:
        cel, others, items = place.cel, node.get("additionalProperties"), node.get("items")
        if isinstance(others, dict):
            why = "inside additionalProperties applying to object metadata"
            outer = replace(place, no_default=why) if place.in_meta else place
            self.visit(others, outer.at(".additionalProperties", cel and cel.values(node)))
        resource = place.root or node.get("x-kubernetes-embedded-resource")
        for name, below in (node.get("properties") or {}).items():
            inner = place.at(f".properties[{name}]", cel and cel.field(name, below))
            if resource and name in META_FIELDS:
                why = f"in top-level {name}" if place.root else inner.no_default
                inner = replace(inner, in_meta=True, no_default=why)
            self.visit(below, inner)
        self.visit(node.get("not"), place.at(".not"))
        for junction in ("allOf", "oneOf", "anyOf"):
            for index, below in enumerate(node.get(junction) or ()):
                self.visit(below, place.at(f".{junction}[{index}]"))
        if isinstance(items, dict):
            inner = place.at(".items", cel and cel.items(node))
            if node.get("x-kubernetes-list-type") != "map" and not inner.uncorrelated:
                inner = replace(inner, uncorrelated=place.path)
            self.visit(items, inner)


def _keywords(node: Node, place: Place) -> Iterator[Cause]:
    path, kind, items = place.path, node.get("type") or "", node.get("items")
    if kind and kind not in TYPES:
        yield not_supported(f"{path}.type", kind, TYPES)
    if node.get("default") is not None and place.no_default:
        yield forbidden_field(f"{path}.default", f"must not be set {place.no_default}")
    for name in _UNSUPPORTED:
        if node.get(name) not in (None, "", {}) or (name in _NOT_EVEN_EMPTY and node.get(name) is not None):
            yield forbidden_field(f"{path}.{name}", f"{name} is not supported")
    if kind == "null":
        yield forbidden_field(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(items, list) and items:
        yield forbidden_field(f"{path}.items", "items must be a schema object and not an array")
    if place.in_meta and node.get("x-kubernetes-embedded-resource"):
        yield forbidden_field(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if node.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_field(f"{path}.uniqueItems", text)
    others = node.get("additionalProperties")
    if node.get("properties") and (others is False or isinstance(others, dict)):
        text = "additionalProperties and properties are mutual exclusive"
        yield forbidden_field(f"{path}.additionalProperties", text)


def _extensions(node: Node, path: str) -> Iterator[Cause]:
    if node.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid_value(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    kind, map_type, list_type = node.get("type") or "", node.get("x-kubernetes-map-type"), _list_type(node)
    if map_type is not None and kind != "object":
        text = "must be object if x-kubernetes-map-type is specified"
        yield invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    if map_type not in (None, "atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    if list_type is not None and kind != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        yield invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif list_type == "set":
        yield from _set_items(structural.items_of(node) or {}, path)
    if list_type not in (None, "atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))


def _list_type(node: Node) -> str | None:
    found: str | None = node.get("x-kubernetes-list-type")
    return found


def _set_items(items: Node, path: str) -> Iterator[Cause]:
    text = "must be atomic as item of a list with x-kubernetes-list-type=set"
    kind, inner = items.get("type"), _list_type(items)
    if kind == "array" and inner not in (None, "atomic"):
        yield invalid_value(f"{path}.items.x-kubernetes-list-type", inner, text)
    if kind == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield invalid_value(f"{path}.items.x-kubernetes-map-type", inner or "null", text)


def _list_keys(node: Node, path: str) -> Iterator[Cause]:
    keys, list_type = node.get("x-kubernetes-list-map-keys") or [], _list_type(node)
    text = "must be map if x-kubernetes-list-map-keys is non-empty"
    if keys and list_type is None:
        yield required(f"{path}.x-kubernetes-list-type", text)
    elif keys and list_type != "map":
        yield invalid_value(f"{path}.x-kubernetes-list-type", list_type, text)
    items = structural.items_of(node)
    if list_type == "map":
        if not keys:
            yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
        if items is None:
            yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        elif items.get("type") != "object":
            text = "must be object if parent array's x-kubernetes-list-type is map"
            yield invalid_value(f"{path}.items.type", items.get("type") or "", text)
        else:
            yield from _keys_of(items, keys, path)
    if items is not None and list_type in ("set", "map"):
        yield from _sure_keys(items, keys if list_type == "map" else (), list_type, path)


def _keys_of(items: Node, keys: list[str], path: str) -> Iterator[Cause]:
    where, properties = f"{path}.x-kubernetes-list-map-keys", items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            yield invalid_value(where, keys, "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid_value(f"{path}.items.properties[{key}].type", items.get("type"), text)
        if key in keys[:index]:
            yield invalid_value(where, keys, "must not contain duplicate entries")


def _sure_keys(items: Node, keys: Any, list_type: str, path: str) -> Iterator[Cause]:
    """Keys are always there: required or with a default, and never null."""
    if items.get("nullable"):
        text = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        yield forbidden_field(f"{path}.items.nullable", text)
    for key in keys:
        node = (items.get("properties") or {}).get(key)
        if node is None:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and node.get("default") is None:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{where}.default", text)
        if node.get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden_field(f"{where}.nullable", text)


# Rules: their form. What they mean is rule_rules' matter.

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


def _rule_forms(node: Node, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(node.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{index}]"
        yield from _texts(rule, where)
        expression = rule.get("messageExpression") or ""
        if expression and not expression.strip():
            yield required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
        if rule.get("reason") is not None and rule["reason"] not in _REASONS:
            yield not_supported(f"{where}.reason", rule["reason"], _REASONS)
        yield from _field_path(rule.get("fieldPath") or "", node, f"{where}.fieldPath")


def _texts(rule: Node, where: str) -> Iterator[Cause]:
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    if not text:
        yield required(f"{where}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid_value(f"{where}.message", message, "message must be non-empty if specified")
    elif _breaks(message.strip()):
        yield invalid_value(f"{where}.message", message, "message must not contain line breaks")
    elif _breaks(text) and not message.strip():
        yield required(f"{where}.message", "message must be specified if rule contains line breaks")


def _field_path(text: str, node: Node, where: str) -> Iterator[Cause]:
    if not text:
        return
    if not text.strip():
        yield invalid_value(where, text, "fieldPath must be non-empty if specified")
    if _breaks(text):
        yield invalid_value(where, text, "fieldPath must not contain line breaks")
    try:
        field_path.find(text, node)
    except field_path.PathError:
        yield invalid_value(where, text, "fieldPath must be a valid path")


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text
