"""CSIDriver: a storage driver that is installed, and what it wants of the cluster.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/csi-driver-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required


def _flag(field: str, absent: bool) -> Any:
    def cell(obj: Object, now: float) -> bool:
        value = (obj.get("spec") or {}).get(field)
        return absent if value is None else bool(value)

    return cell


def _tokens_text(obj: Object, now: float) -> str:
    asked = (obj.get("spec") or {}).get("tokenRequests")
    return "<unset>" if asked is None else ",".join(request.get("audience") or "" for request in asked)


def _modes_text(obj: Object, now: float) -> str:
    return ",".join((obj.get("spec") or {}).get("volumeLifecycleModes") or ()) or cells.NONE


CSIDRIVER = Kind(
    group="storage.k8s.io",
    versions=("v1",),
    name="CSIDriver",
    plural="csidrivers",
    scope=CLUSTER,
    schema="io.k8s.api.storage.v1.CSIDriver",
    columns=(
        Column("AttachRequired", _flag("attachRequired", True), kind="boolean"),
        Column("PodInfoOnMount", _flag("podInfoOnMount", False), kind="boolean"),
        Column("StorageCapacity", _flag("storageCapacity", False), kind="boolean"),
        Column("TokenRequests", _tokens_text),
        Column("RequiresRepublish", _flag("requiresRepublish", False), kind="boolean"),
        Column("Modes", _modes_text),
        cells.AGE,
    ),
    has_generation=True,
    unconditional=False,
    answers_deleted=True,
)

_DEFAULTS: dict[str, Any] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_MODES = ("Persistent", "Ephemeral")
_MIN_TOKEN_SECONDS = 600
_MAX_TOKEN_SECONDS = 2**32
_MIN_PERIOD_SECONDS = 10
_SHOWN = {"attachRequired": "attachedRequired"}


def default(obj: Object) -> None:
    """Volumes are attached, persistent, and as a driver has them that wants nothing special."""
    spec = obj.setdefault("spec", {})
    for field, value in _DEFAULTS.items():
        if spec.get(field) is None:
            spec[field] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Known choices; whether it attaches, and the lifecycles of its volumes, stay."""
    spec = new.get("spec") or {}
    causes = [
        required(f"spec.{_SHOWN.get(field, field)}")
        for field in ("attachRequired", "podInfoOnMount", "storageCapacity", "seLinuxMount")
        if spec.get(field) is None
    ]
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in _POLICIES:
        causes.append(not_supported("spec.fsGroupPolicy", policy, _POLICIES))
    causes += _token_causes(spec.get("tokenRequests") or ())
    modes = spec.get("volumeLifecycleModes") or ()
    causes += [not_supported("spec.volumeLifecycleModes", mode, _MODES) for mode in modes if mode not in _MODES]
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < _MIN_PERIOD_SECONDS:
        text = f"must be greater than or equal to {_MIN_PERIOD_SECONDS} seconds"
        causes.append(invalid_value("spec.nodeAllocatableUpdatePeriodSeconds", period, text))
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not spec.get("tokenRequests"):
        text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        causes.append(invalid_value("spec.serviceAccountTokenInSecrets", in_secrets, text))
    before = (old or {}).get("spec") or spec
    for field in ("attachRequired", "volumeLifecycleModes"):
        if spec.get(field) != before.get(field):
            path = f"spec.{_SHOWN.get(field, field)}"
            causes.append(invalid_value(path, spec.get(field), "field is immutable"))
    return causes


def _token_causes(asked: Sequence[dict[str, Any]]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, request in enumerate(asked):
        path = f"spec.tokenRequests[{index}]"
        audience, seconds = request.get("audience") or "", request.get("expirationSeconds")
        if audience in seen:
            found.append(duplicate(f"{path}.audience", audience))
            continue
        seen.add(audience)
        if seconds is not None and seconds < _MIN_TOKEN_SECONDS:
            text = "may not specify a duration less than 10 minutes"
            found.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
        elif seconds is not None and seconds > _MAX_TOKEN_SECONDS:
            text = "may not specify a duration larger than 2^32 seconds"
            found.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
    return found
