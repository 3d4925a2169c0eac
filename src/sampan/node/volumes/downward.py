"""Downward API: a pod's own fields and its containers' resources as text (pure).

https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from sampan.meta import quantity
from sampan.node.volumes.failure import VolumeFailure

Object = Mapping[str, Any]

_LASTING = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


def is_in(pod: Object) -> bool:
    """Whether a volume of the pod shows something of the pod that may change."""
    for volume in pod["spec"].get("volumes") or ():
        for part in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            for item in (part.get("downwardAPI") or {}).get("items") or ():
                if (item.get("fieldRef") or {}).get("fieldPath") not in _LASTING:
                    return True
    return False


def field(pod: Object, path: str) -> str:
    """The field's text; "" when it has no value yet. VolumeFailure for a field that is not offered."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return str((pod["metadata"].get(subscript[1]) or {}).get(subscript[2], ""))
    spec, status, meta = pod.get("spec") or {}, pod.get("status") or {}, pod["metadata"]
    if path in ("metadata.labels", "metadata.annotations"):
        return _map(meta.get(path.removeprefix("metadata.")) or {})
    fields = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": ",".join(item["ip"] for item in status.get("podIPs") or ()),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": ",".join(item["ip"] for item in status.get("hostIPs") or ()),
    }
    if path not in fields:
        raise VolumeFailure(f"unsupported fieldPath: {path}")
    return str(fields[path] or "")


def resource(pod: Object, reference: Object, *, allocatable: Mapping[str, Any] | None = None) -> str:
    """limits.cpu, requests.memory and so on of a container, in units of the divisor, rounded up.

    Without a limit it is what the node can give (`allocatable`: resource name -> quantity), as far as
    that is known; a request defaults to the limit.
    """
    name = reference.get("containerName", "")
    kind, _, resource_name = reference.get("resource", "").partition(".")
    if kind not in ("limits", "requests") or not resource_name:
        raise VolumeFailure(f"Unsupported container resource : {reference.get('resource', '')}")
    container = _container(pod, name)
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    value = (resources.get(kind) or {}).get(resource_name)
    if value is None and kind == "requests":
        value = limits.get(resource_name, "0")
    if value is None:
        value = (allocatable or {}).get(resource_name, "0")
    divisor = reference.get("divisor") or "1"
    unit = quantity.parse(divisor if str(divisor) != "0" else "1").nanos
    return str(-(-quantity.parse(value).nanos // unit))


def _container(pod: Object, name: str) -> Object:
    for group in ("containers", "initContainers"):
        for container in pod["spec"].get(group) or ():
            if container["name"] == name:
                found: Object = container
                return found
    raise VolumeFailure(f"container {name} not found")


def _map(values: Mapping[str, str]) -> str:
    """key="value" lines in order of the keys, the value quoted as JSON has it."""
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(values.items()))
