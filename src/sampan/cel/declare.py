"""Types from schemas: what rules can reach of an object, how its values are coerced, how large they can be.

A node of a schema is the plain dict of OpenAPI v3 as structural schemas have it, or of the built-in definitions.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#type-system-integration
"""

import base64
import binascii
import functools
from collections.abc import Callable, Mapping
from typing import Any

from sampan.cel import times, types
from sampan.cel.types import Type
from sampan.cel.values import EvaluationError, ListView, MapView
from sampan.meta import schema as schemas

_REQUEST_BYTES = 3 * 1024 * 1024
# What the formats take in JSON, quotation marks included.
_DURATION_SIZE, _DATE_SIZE, _MOMENT_SIZE, _LEAST_MOMENT, _LEAST_DURATION = 32, 12, 32, 21, 3
_TEXT = {"type": "string"}
_RESOURCE = {
    "apiVersion": _TEXT,
    "kind": _TEXT,
    "metadata": {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}},
}
_DEEPEST = 64


def of_schema(node: Mapping[str, Any], name: str, *, root: bool, depth: int = 0) -> Type | None:
    """See `types.of_schema`; built-in definitions may refer to one another, so their fields are made when asked for."""
    if "$ref" in node:
        return _of_definition(node["$ref"])
    if depth > _DEEPEST:
        return None
    if node.get("x-kubernetes-int-or-string") or node.get("format") == "int-or-string":
        return _int_or_string(node)
    kind = node.get("type") or ("object" if "properties" in node else "")
    if kind == "array":
        return _array(node, name, depth)
    if kind == "object":
        return _object(node, name, root=root, depth=depth)
    if kind == "string":
        return _string(node)
    return {"boolean": _BOOL, "number": _NUMBER, "integer": _INT}.get(kind)


_definitions: dict[str, Type | None] = {}


def _of_definition(reference: str) -> Type | None:
    """The type of a built-in definition; one that contains itself is dyn where it does."""
    if reference not in _definitions:
        _definitions[reference] = types.DYN
        found = schemas.definition(reference.removeprefix(schemas.REF_PREFIX))
        if found.kind in {"quantity", "int-or-string"}:
            _definitions[reference] = _int_or_string({})
        else:
            _definitions[reference] = of_schema(found.node, found.name, root=False)
    return _definitions[reference]


def _below(node: Mapping[str, Any], name: str, depth: int) -> Type | None:
    return of_schema(node, name, root=bool(node.get("x-kubernetes-embedded-resource")), depth=depth + 1)


def _limit(node: Mapping[str, Any], key: str) -> int | None:
    value = node.get(key)
    return None if value is None else max(int(value), 0)


def _int_or_string(node: Mapping[str, Any]) -> Type:
    made = Type("dyn")
    longest = _limit(node, "maxLength")
    made.max_size = _REQUEST_BYTES - 2 if longest is None else longest * 4
    return made


def _array(node: Mapping[str, Any], name: str, depth: int) -> Type | None:
    items = node.get("items")
    below = _below(items, f"{name}.@items", depth) if isinstance(items, dict) else None
    if below is None:
        return None
    made = types.list_of(below)
    made.list_type = node.get("x-kubernetes-list-type", "atomic")
    made.list_keys = tuple(node.get("x-kubernetes-list-map-keys", ()))
    made.min_bytes = 2
    most = _limit(node, "maxItems")
    made.max_size = (_REQUEST_BYTES - 2) // (below.min_bytes + 1) if most is None else most
    if below.is_coerced or made.list_type in {"set", "map"}:
        made.coercer = lambda value: ListView(value, made) if isinstance(value, list) else value
    return made


def _object(node: Mapping[str, Any], name: str, *, root: bool, depth: int) -> Type | None:
    more = node.get("additionalProperties")
    if isinstance(more, dict) and not node.get("properties"):
        return _map(node, more, name, depth)
    properties = node.get("properties", {})
    if root:
        properties = {**properties, **_resource(properties)}
    fields: dict[str, Type] = {}
    made = types.object_of(name, fields)
    made.min_bytes, made.max_size = 2, 0
    required = frozenset(node.get("required", ()))
    views = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    for key, below in properties.items():
        field = _below(below, f"{name}.{key}", depth)
        if field is None:
            continue
        escaped = types.escape(key)
        if escaped is not None:
            fields[escaped] = field
        views = views or field.is_coerced or escaped != key
        if key in required and below.get("default") is None:
            made.min_bytes += len(key) + field.min_bytes + 4
    if views:
        made.coercer = lambda value: MapView(value, made) if isinstance(value, dict) else value
    return made


def _resource(properties: Mapping[str, Any]) -> dict[str, Any]:
    metadata = properties.get("metadata", {})
    whole = "$ref" in metadata or {"name", "generateName"} <= set(metadata.get("properties", {}))
    return {} if whole and {"kind", "apiVersion"} <= set(properties) else _RESOURCE


def _map(node: Mapping[str, Any], more: Mapping[str, Any], name: str, depth: int) -> Type | None:
    values = _below(more, f"{name}.@values", depth)
    if values is None:
        return None
    made = types.map_of(_KEY, values)
    made.min_bytes = 2
    most = _limit(node, "maxProperties")
    made.max_size = (_REQUEST_BYTES - 2) // (values.min_bytes + 6) if most is None else most
    if values.is_coerced:
        made.coercer = lambda value: MapView(value, made) if isinstance(value, dict) else value
    return made


def _string(node: Mapping[str, Any]) -> Type:
    form, longest = node.get("format", ""), _limit(node, "maxLength")
    if form == "byte":
        return _scalar("bytes", 2, _REQUEST_BYTES - 2 if longest is None else longest, _bytes)
    if form == "duration":
        return _scalar("duration", _LEAST_DURATION, _DURATION_SIZE, _duration)
    if form == "date":
        return _scalar("timestamp", _DATE_SIZE, _DATE_SIZE, _date)
    if form == "date-time":
        return _scalar("timestamp", _LEAST_MOMENT, _MOMENT_SIZE, _moment)
    if longest is not None:
        size = longest * 4
    elif node.get("enum"):
        size = max((len(v.encode()) for v in node["enum"] if isinstance(v, str)), default=0)
    else:
        size = _REQUEST_BYTES - 2
    return _scalar("string", 2, size)


def _scalar(kind: str, least: int, most: int | None = None, coercer: Callable[[Any], Any] | None = None) -> Type:
    made = Type(kind, _NAMES.get(kind, ""))
    made.min_bytes = least
    made.max_size = most
    made.coercer = coercer
    return made


_NAMES = {"timestamp": types.TIMESTAMP.name, "duration": types.DURATION.name}


def _coercer(parse: Callable[[str], Any], complaint: str) -> Callable[[Any], Any]:
    def coerce(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except (ValueError, binascii.Error) as wrong:
            raise EvaluationError(f"{complaint} {value}: {wrong}") from None

    return coerce


_bytes = _coercer(lambda text: base64.b64decode(text, validate=True), "Invalid byte formatted string")
_duration = _coercer(times.parse_schema_duration, "Invalid duration")
_date = _coercer(times.parse_date, "Invalid date formatted string")
_moment = _coercer(times.parse_schema_moment, "Invalid date-time formatted string")


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


_KEY = _scalar("string", 2, 0)
_BOOL = _scalar("bool", 4, 0)
_INT = _scalar("int", 1, 0)
_NUMBER = _scalar("double", 1, 0, _double)


def _text_fields(*names: str) -> dict[str, Type]:
    return dict.fromkeys(names, types.STRING)


@functools.cache
def admission_request() -> Type:
    """See `types.admission_request`."""
    kind = types.object_of("kubernetes.GroupVersionKind", _text_fields("group", "version", "kind"))
    resource = types.object_of("kubernetes.GroupVersionResource", _text_fields("group", "version", "resource"))
    texts = types.list_of(types.STRING)
    user = types.object_of(
        "kubernetes.UserInfo",
        _text_fields("username", "uid") | {"groups": texts, "extra": types.map_of(types.STRING, texts)},
    )
    return types.object_of(
        "kubernetes.AdmissionRequest",
        _text_fields("subResource", "requestSubResource", "name", "namespace", "operation")
        | {"kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource}
        | {"userInfo": user, "dryRun": types.BOOL, "options": types.DYN},
    )


@functools.cache
def namespace_object() -> Type:
    """See `types.namespace_object`."""
    texts, labels = types.list_of(types.STRING), types.map_of(types.STRING, types.STRING)
    moment = _scalar("timestamp", _LEAST_MOMENT, _MOMENT_SIZE, _moment)
    metadata = types.object_of(
        "kubernetes.NamespaceMetadata",
        _text_fields("name", "generateName", "namespace", "UID", "resourceVersion")
        | {"labels": labels, "annotations": labels, "finalizers": texts}
        | {"creationTimestamp": moment, "deletionTimestamp": moment}
        | {"deletionGracePeriodSeconds": types.INT, "generation": types.INT},
    )
    metadata.coercer = lambda value: MapView(value, metadata) if isinstance(value, dict) else value
    condition = types.object_of(
        "kubernetes.NamespaceCondition",
        _text_fields("status", "type", "message", "reason") | {"lastTransitionTime": moment},
    )
    conditions = types.list_of(condition)
    made = types.object_of(
        "kubernetes.Namespace",
        {
            "metadata": metadata,
            "spec": types.object_of("kubernetes.NamespaceSpec", {"finalizers": texts}),
            "status": types.object_of("kubernetes.NamespaceStatus", _text_fields("phase") | {"conditions": conditions}),
        },
    )
    made.coercer = lambda value: MapView(value, made) if isinstance(value, dict) else value
    return made
