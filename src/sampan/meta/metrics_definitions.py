"""The schemas of metrics.k8s.io, which are no part of the API server's own document.

https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go
"""

from typing import Any

_PREFIX = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
_META = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1."
_QUANTITY = "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"
_USAGE = {
    "description": "The amounts that are used, by resource: cpu and memory.",
    "type": "object",
    "additionalProperties": {"$ref": _QUANTITY},
}


def _measured(name: str, what: str, **own: Any) -> dict[str, Any]:
    properties = {
        "apiVersion": {"description": "The version of this form.", "type": "string"},
        "kind": {"description": "The REST resource that this is.", "type": "string"},
        "metadata": {"description": "Standard object's metadata.", "$ref": _META + "ObjectMeta"},
        "timestamp": {
            "description": "The end of the time in which the figures were collected.",
            "$ref": _META + "Time",
        },
        "window": {"description": "The length of that time.", "type": "string"},
        **own,
    }
    return {
        "description": f"What {what} uses.",
        "type": "object",
        "required": ["timestamp", "window", *own],
        "properties": properties,
        "x-kubernetes-group-version-kind": [{"group": "metrics.k8s.io", "kind": name, "version": "v1beta1"}],
    }


def _list(name: str) -> dict[str, Any]:
    return {
        "description": f"A list of {name}.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": "The version of this form.", "type": "string"},
            "kind": {"description": "The REST resource that this is.", "type": "string"},
            "metadata": {"description": "Standard list metadata.", "$ref": _META + "ListMeta"},
            "items": {
                "description": "The list itself.",
                "type": "array",
                "items": {"$ref": f"#/definitions/{_PREFIX}{name}"},
            },
        },
        "x-kubernetes-group-version-kind": [{"group": "metrics.k8s.io", "kind": f"{name}List", "version": "v1beta1"}],
    }


_CONTAINERS = {
    "description": "The figures of the containers.",
    "type": "array",
    "items": {"$ref": f"#/definitions/{_PREFIX}ContainerMetrics"},
}

DEFINITIONS: dict[str, dict[str, Any]] = {
    f"{_PREFIX}ContainerMetrics": {
        "description": "What a container uses.",
        "type": "object",
        "required": ["name", "usage"],
        "properties": {
            "name": {"description": "The container's name.", "type": "string"},
            "usage": _USAGE,
        },
    },
    f"{_PREFIX}NodeMetrics": _measured("NodeMetrics", "a node", usage=_USAGE),
    f"{_PREFIX}NodeMetricsList": _list("NodeMetrics"),
    f"{_PREFIX}PodMetrics": _measured("PodMetrics", "a pod", containers=_CONTAINERS),
    f"{_PREFIX}PodMetricsList": _list("PodMetrics"),
}
"""By name, as in an OpenAPI v2 document."""
