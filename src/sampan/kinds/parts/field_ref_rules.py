"""Which references to a pod's own fields and resources are refused, in variables and in volumes.

https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from collections.abc import Collection, Mapping
from typing import Any

from sampan.meta import names, quantity
from sampan.meta.status import Cause, invalid_value, not_supported, required

Reference = Mapping[str, Any]

IN_VARIABLES = frozenset((
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
))  # fmt: skip
IN_VOLUMES = frozenset((
    "metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid",
))  # fmt: skip

_LABELS = IN_VARIABLES | IN_VOLUMES | {
    "spec.restartPolicy", "spec.schedulerName", "spec.host", "status.phase",
}  # fmt: skip
_RESOURCES = tuple(
    f"{part}.{name}" for part in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_BYTES = ("1", *(f"1{unit}" for unit in "kMGTPE"), *(f"1{unit}i" for unit in "KMGTPE"))
_BYTES_TEXT = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"


def field_causes(reference: Reference, path: str, allowed: Collection[str]) -> list[Cause]:
    """A field of the pod, one label or one annotation."""
    version, field = reference.get("apiVersion") or "", reference.get("fieldPath") or ""
    if not version:
        return [required(f"{path}.apiVersion")]
    if not field:
        return [required(f"{path}.fieldPath")]
    if field in allowed and version == "v1":
        return []
    head, bracket, key = field.partition("['")
    subscript = key.removesuffix("']") if bracket and key.endswith("']") else None
    why = ""
    if version != "v1":
        why = f"unsupported pod version: {version}"
    elif subscript is not None and head not in ("metadata.annotations", "metadata.labels"):
        why = f"field label does not support subscript: {field}"
    elif subscript is None and field not in _LABELS:
        why = f"field label not supported: {field}"
    if why:
        return [invalid_value(f"{path}.fieldPath", field, f"error converting fieldPath: {why}")]
    if subscript is None:
        return [not_supported(f"{path}.fieldPath", field, allowed)]
    name = subscript.lower() if head == "metadata.annotations" else subscript
    return [invalid_value(path, name, text) for text in names.qualified_name(name)]


def resource_causes(reference: Reference, path: str, *, in_volume: bool) -> list[Cause]:
    """A container's limit or request, in some unit. A volume must say whose."""
    resource = reference.get("resource") or ""
    found: list[Cause] = []
    if in_volume and not reference.get("containerName"):
        found.append(required(f"{path}.containerName"))
    elif not resource:
        found.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        found.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    return found + _divisor_causes(resource, reference.get("divisor") or "0", f"{path}.divisor")


def _divisor_causes(resource: str, divisor: Any, path: str) -> list[Cause]:
    complaint = quantity.validate(divisor)
    if complaint:
        return [invalid_value(path, str(divisor), complaint)]
    if not quantity.parse(divisor):
        return []
    text = ""
    if resource.endswith(".cpu"):
        if quantity.canonical(divisor) not in ("1m", "1"):
            text = "only divisor's values 1m and 1 are supported with the cpu resource"
    elif quantity.canonical(divisor) not in _BYTES:
        for ending, name in (("memory", "memory"), ("ephemeral-storage", "local ephemeral storage")):
            if resource.endswith(f".{ending}"):
                text = f"only divisor's values {_BYTES_TEXT} are supported with the {name} resource"
        if resource.startswith(_HUGE):
            text = f"only divisor's values {_BYTES_TEXT} are supported with the hugepages resource"
    return [invalid_value(path, resource, text)] if text else []
