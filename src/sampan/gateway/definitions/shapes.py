"""Shapes: the words that the definitions' schemas are written in, and the shapes that several kinds share.

https://gateway-api.sigs.k8s.io/reference/spec/
"""

from typing import Any

Schema = dict[str, Any]

GROUP = "gateway.networking.k8s.io"
BUNDLE_VERSION = "v1.4.0"

_APPROVED = "https://github.com/kubernetes-sigs/gateway-api/pull/3328"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def text(longest: int = 0, shortest: int = 0, pattern: str = "", **more: Any) -> Schema:
    """A string."""
    bounds = {"maxLength": longest, "minLength": shortest, "pattern": pattern}
    return {"type": "string", **{name: value for name, value in bounds.items() if value}, **more}


def choice(*values: str, **more: Any) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": list(values), **more}


def whole(lowest: int | None = None, highest: int | None = None, **more: Any) -> Schema:
    """A 32-bit integer."""
    bounds = {"minimum": lowest, "maximum": highest}
    return {
        "type": "integer",
        "format": "int32",
        **{name: value for name, value in bounds.items() if value is not None},
        **more,
    }


def tree(needed: str = "", cel: tuple[tuple[str, str], ...] = (), /, **properties: Schema) -> Schema:
    """An object; `needed` are the required fields with spaces between, `cel` are (expression, message)."""
    made: Schema = {"type": "object", "properties": {name.rstrip("_"): node for name, node in properties.items()}}
    if needed:
        made["required"] = needed.split()
    return with_rules(made, *cel)


def items(item: Schema, most: int, least: int = 0, keys: str = "", **more: Any) -> Schema:
    """A list; with `keys` it is a map by those fields."""
    made: Schema = {"type": "array", "items": item, "maxItems": most, **more}
    made |= {"minItems": least} if least else {}
    if keys:
        made |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys.split()}
    else:
        made["x-kubernetes-list-type"] = "atomic"
    return made


def pairs(value: Schema, most: int) -> Schema:
    """Names with values."""
    return {"type": "object", "additionalProperties": value, "maxProperties": most}


def with_rules(schema: Schema, *rules: tuple[str, str]) -> Schema:
    """The same with (expression, message) of CEL that must hold."""
    if not rules:
        return schema
    return {**schema, "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def date() -> Schema:
    return {"type": "string", "format": "date-time"}


HOSTNAME = text(253, 1, rf"^(\*\.)?{_LABEL}(\.{_LABEL})*$")
PRECISE_HOSTNAME = text(253, 1, rf"^{_LABEL}(\.{_LABEL})*$")
KIND_NAME = text(63, 1, r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
GROUP_NAME = text(253, 0, rf"^$|^{_LABEL}(\.{_LABEL})*$")
NAMESPACE_NAME = text(63, 1, rf"^{_LABEL}$")
OBJECT_NAME = text(253, 1)
SECTION_NAME = text(253, 1, rf"^{_LABEL}(\.{_LABEL})*$")
PORT = whole(1, 65535)
DURATION = text(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")
HEADER_NAME = text(256, 1, r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$")
CONTROLLER_NAME = text(253, 1, rf"^{_LABEL}(\.{_LABEL})*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$")
LABEL_KEY = text(
    253,
    1,
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$",
)

CONDITIONS = items(
    tree(
        "type status lastTransitionTime reason message",
        type=text(
            316,
            0,
            r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
        status=choice("True", "False", "Unknown"),
        observedGeneration={"type": "integer", "format": "int64", "minimum": 0},
        lastTransitionTime=date(),
        reason=text(1024, 1, r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        message=text(32768),
    ),
    8,
    keys="type",
)

LABEL_SELECTOR: Schema = {
    **tree(
        matchLabels={"type": "object", "additionalProperties": {"type": "string"}},
        matchExpressions={
            "type": "array",
            "x-kubernetes-list-type": "atomic",
            "items": tree(
                "key operator",
                key={"type": "string"},
                operator=choice("In", "NotIn", "Exists", "DoesNotExist"),
                values={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
            ),
        },
    ),
    "x-kubernetes-map-type": "atomic",
}


def pending(*types: str) -> list[Schema]:
    """What the conditions are before any controller came."""
    return [
        {
            "type": type_,
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
        for type_ in types
    ]


def column(name: str, path: str, kind: str = "string", **more: Any) -> Schema:
    """A column of `kubectl get`."""
    return {"name": name, "type": kind, "jsonPath": path, **more}


AGE = column("Age", ".metadata.creationTimestamp", "date")


def version(name: str, spec: Schema, status: Schema | None, columns: list[Schema], *, storage: bool = True) -> Schema:
    """One served version of a definition."""
    schema = tree("spec", apiVersion=text(), kind=text(), metadata={"type": "object"}, spec=spec)
    if status is not None:
        schema["properties"]["status"] = status
    made = {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}
    made["additionalPrinterColumns"] = columns
    return made | ({"subresources": {"status": {}}} if status is not None else {})


def definition(kind: str, plural: str, scope: str, short: tuple[str, ...], *versions: Schema) -> Schema:
    """A CustomResourceDefinition of the Gateway API."""
    names: Schema = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    names |= {"categories": ["gateway-api"]} | ({"shortNames": list(short)} if short else {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {
                "api-approved.kubernetes.io": _APPROVED,
                f"{GROUP}/bundle-version": BUNDLE_VERSION,
                f"{GROUP}/channel": "experimental",
            },
        },
        "spec": {"group": GROUP, "names": names, "scope": scope, "versions": list(versions)},
    }
