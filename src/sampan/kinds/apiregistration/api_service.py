"""APIService: one group and version of the API, served here or by an extension API server behind a Service.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/api-service-v1/
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import cells
from sampan.meta import conditions, names, objects, timestamps
from sampan.meta.status import Cause, invalid_value, not_supported, required

AVAILABLE = "Available"
LOCAL = ("True", "Local", "Local APIServices are always available")
DEFAULT_PORT = 443
_MAX_GROUP_PRIORITY = 20000
_MAX_VERSION_PRIORITY = 1000
_STATUSES = ("True", "False", "Unknown")


def service_text(obj: Object, now: float) -> str:
    """NAMESPACE/NAME of the extension server's Service, or Local."""
    service = spec(obj).get("service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def available_text(obj: Object, now: float) -> str:
    """True, or what it is instead with the reason."""
    condition = conditions.get(obj, AVAILABLE)
    if condition is None:
        return "Unknown"
    status = str(condition.get("status", ""))
    reason = condition.get("reason")
    return f"{status} ({reason})" if status != "True" and reason else status


APISERVICE = Kind(
    group="apiregistration.k8s.io",
    versions=("v1",),
    name="APIService",
    plural="apiservices",
    scope=CLUSTER,
    schema="io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    categories=("api-extensions",),
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(
        Column("Service", service_text, description="The reference to the service that hosts this API endpoint."),
        Column("Available", available_text, description="Whether this service is available."),
        cells.AGE,
    ),
    name_check=names.path_segment,
    bare_finalizers=True,
    unconditional=False,
)


def spec(obj: Object) -> dict[str, Any]:
    """The spec, empty when there is none."""
    found: dict[str, Any] = obj.get("spec") or {}
    return found


def name_of(group: str, version: str) -> str:
    """The one name that the APIService of a group and version can have."""
    return f"{version}.{group}"


def is_available(obj: Object) -> bool:
    """Whether its last check passed."""
    return conditions.is_true(obj, AVAILABLE)


def default(obj: Object) -> None:
    """An extension server listens on 443."""
    service = spec(obj).get("service")
    if service and service.get("port") is None:
        service["port"] = DEFAULT_PORT


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Status is the server's; what is served here is available from the start."""
    if old is not None:
        return
    new["status"] = {}
    if not spec(new).get("service"):
        now = timestamps.parse(new["metadata"]["creationTimestamp"])
        new["status"] = {"conditions": [conditions.make(AVAILABLE, *LOCAL, now)]}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The name says group and version; priorities are in range; only a remote service has a CA."""
    if subresource == "status":
        return [
            not_supported(f"status.conditions[{index}].status", condition.get("status", ""), _STATUSES)
            for index, condition in enumerate((new.get("status") or {}).get("conditions") or ())
            if condition.get("status") not in _STATUSES
        ]
    wanted = spec(new)
    group, version = wanted.get("group") or "", wanted.get("version") or ""
    causes: list[Cause] = []
    name = name_of(group, version)
    if objects.name(new) != name:
        text = f'must be `spec.version+"."+spec.group`: "{name}"'
        causes.append(invalid_value("metadata.name", objects.name(new), text))
    if not group and version != "v1":
        text = "only v1 may have an empty group and it better be legacy kube"
        causes.append(required("spec.group", text))
    if group:
        causes += [invalid_value("spec.group", group, text) for text in names.dns1123_subdomain(group)]
    causes += [invalid_value("spec.version", version, text) for text in names.dns1035_label(version)]
    for field, limit in (("groupPriorityMinimum", _MAX_GROUP_PRIORITY), ("versionPriority", _MAX_VERSION_PRIORITY)):
        number = wanted.get(field) or 0
        if not 0 < number <= limit:
            causes.append(invalid_value(f"spec.{field}", number, f"must be positive and less than {limit}"))
    return [*causes, *(_remote_causes(wanted) if wanted.get("service") else _local_causes(wanted))]


def _local_causes(wanted: dict[str, Any]) -> list[Cause]:
    causes = []
    bundle = wanted.get("caBundle") or ""
    if bundle:
        size = f"{_size(bundle)} bytes"
        causes.append(invalid_value("spec.caBundle", size, "local APIServices may not have a caBundle"))
    if wanted.get("insecureSkipTLSVerify"):
        text = "local APIServices may not have insecureSkipTLSVerify"
        causes.append(invalid_value("spec.insecureSkipTLSVerify", True, text))
    return causes


def _remote_causes(wanted: dict[str, Any]) -> list[Cause]:
    service = wanted["service"]
    causes = [required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    port = service.get("port") or 0
    if not 0 < port < 65536:
        text = "port is not valid: must be between 1 and 65535, inclusive"
        causes.append(invalid_value("spec.service.port", port, text))
    if wanted.get("insecureSkipTLSVerify") and wanted.get("caBundle"):
        causes.append(invalid_value("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return causes


def _size(bundle: str) -> int:
    try:
        return len(base64.b64decode(bundle, validate=True))
    except (ValueError, binascii.Error):
        return len(bundle)
