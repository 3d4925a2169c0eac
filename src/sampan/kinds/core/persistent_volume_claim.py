"""PersistentVolumeClaim: a wish for storage, and the volume that fulfils it.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-claim-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, claim_rules, difference, pod_warnings, storage_rules
from sampan.meta import objects, quantity
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported


def _is_bound(obj: Object) -> bool:
    return bool((obj.get("spec") or {}).get("volumeName"))


def _capacity_text(obj: Object, now: float) -> str:
    capacity = (obj.get("status") or {}).get("capacity") or {}
    return str(capacity.get("storage") or "0") if _is_bound(obj) else ""


def _modes_text(obj: Object, now: float) -> str:
    modes = (obj.get("status") or {}).get("accessModes")
    return storage_rules.access_modes_text(modes) if _is_bound(obj) else ""


def _spec_or_unset(field: str) -> Any:
    return lambda obj, now: storage_rules.or_unset((obj.get("spec") or {}).get(field))


PERSISTENTVOLUMECLAIM = Kind(
    group="",
    versions=("v1",),
    name="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    schema="io.k8s.api.core.v1.PersistentVolumeClaim",
    short_names=("pvc",),
    subresources=(STATUS,),
    columns=(
        Column("Status", storage_rules.phase_text),
        Column("Volume", "spec.volumeName"),
        Column("Capacity", _capacity_text),
        Column("Access Modes", _modes_text),
        Column("StorageClass", lambda o, now: storage_rules.class_text(o), description="StorageClass of the pvc"),
        Column(
            "VolumeAttributesClass",
            _spec_or_unset("volumeAttributesClassName"),
            description="VolumeAttributesClass of the pvc",
        ),
        cells.AGE,
        Column("VolumeMode", _spec_or_unset("volumeMode"), wide=True),
    ),
    answers_deleted=True,
)

BOUND = "Bound"
_RESIZES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
_SPEC_TEXT = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def class_name(claim: Object) -> str:
    """Its storage class, "" for none; the old annotation counts first."""
    return storage_rules.class_text(claim)


def has_class(claim: Object) -> bool:
    """Whether it says which storage class it wants, if only none at all."""
    annotations = claim["metadata"].get("annotations") or {}
    return (
        storage_rules.CLASS_ANNOTATION in annotations or (claim.get("spec") or {}).get("storageClassName") is not None
    )


def default(obj: Object) -> None:
    """A file system; Pending, until it is bound."""
    claim_rules.default(obj.setdefault("spec", {}))
    default_status(obj)


def default_status(obj: Object) -> None:
    """Pending, until it is bound."""
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one is Pending; its two fields for a data source say the same."""
    if old is None:
        new["status"] = {"phase": "Pending"}
        _join_sources(new["spec"])


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A whole spec; afterwards only a bound claim's size and attributes change."""
    if subresource == "status":
        return _status_causes(new.get("status") or {})
    if old is None:
        return claim_rules.causes(new.get("spec") or {}, "spec")
    before = old.get("spec") or {}
    known = any((before.get(f) or {}).get("apiGroup") is not None for f in ("dataSource", "dataSourceRef"))
    causes = claim_rules.causes(new.get("spec") or {}, "spec", known_groups=known)
    return causes + _update_causes(new, old)


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The old annotation, a size with a fraction."""
    found = []
    if storage_rules.CLASS_ANNOTATION in (new["metadata"].get("annotations") or {}):
        text = 'deprecated since v1.8; use "storageClassName" attribute instead'
        found.append(f"metadata.annotations[{storage_rules.CLASS_ANNOTATION}]: {text}")
    return [*found, *pod_warnings.claim_warnings(new.get("spec") or {}, "spec")]


def _join_sources(spec: dict[str, Any]) -> None:
    """What is not a claim or a snapshot counts only as dataSourceRef; what is, stands in both fields."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and not _is_claim_or_snapshot(source):
        source = None
        del spec["dataSource"]
    if reference is not None and reference.get("namespace"):
        del spec["dataSourceRef"]  # needs a feature that is off by default in the reference server too
        reference = None
    if reference is None and source is not None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and _is_claim_or_snapshot(reference):
        spec["dataSource"] = dict(reference)


def _is_claim_or_snapshot(source: dict[str, Any]) -> bool:
    told = (source.get("apiGroup") or "", source.get("kind") or "")
    return told in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def _update_causes(new: Object, old: Object) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = _class_causes(new, old)
    munged, kept = objects.copy(spec), objects.copy(before)
    if not before.get("volumeName"):
        kept["volumeName"] = munged.get("volumeName")
    if "storageClassName" not in before and _may_name_class(new, old):
        kept["storageClassName"] = munged.get("storageClassName")
    is_bound = (old.get("status") or {}).get("phase") == BOUND
    requests = (munged.get("resources") or {}).get("requests")
    if is_bound and requests is not None:
        requests["storage"] = ((before.get("resources") or {}).get("requests") or {}).get("storage")
    if is_bound and munged.get("volumeAttributesClassName") is not None:
        munged["volumeAttributesClassName"] = kept.get("volumeAttributesClassName")
    if _present(munged) != _present(kept):
        found.append(forbidden_field("spec", f"{_SPEC_TEXT}\n{difference.text(_present(kept), _present(munged))}"))
    found += _size_causes(spec, before, old)
    if spec.get("volumeMode") != before.get("volumeMode"):
        found.append(invalid_value("volumeMode", spec.get("volumeMode"), "field is immutable"))
    return found + _attributes_causes(spec.get("volumeAttributesClassName"), before.get("volumeAttributesClassName"))


def _class_causes(new: Object, old: Object) -> list[Cause]:
    """The old annotation stays."""
    name = storage_rules.CLASS_ANNOTATION
    value, had = ((o["metadata"].get("annotations") or {}).get(name) for o in (new, old))
    if value == had or (had is not None and value is None and _may_name_class(new, old)):
        return []
    path = f"metadata.annotations[{name}]"
    return [invalid_value(path, value or "", "field is immutable")]


def _may_name_class(new: Object, old: Object) -> bool:
    """A claim without a class may get one later: any, or that of its old annotation."""
    name = (new.get("spec") or {}).get("storageClassName")
    had = (old["metadata"].get("annotations") or {}).get(storage_rules.CLASS_ANNOTATION)
    return name is not None and (had is None or had == name)


def _size_causes(spec: dict[str, Any], before: dict[str, Any], old: Object) -> list[Cause]:
    try:
        size, had = claim_rules.size(spec), claim_rules.size(before)
    except ValueError:
        return []
    reached = quantity.parse(((old.get("status") or {}).get("capacity") or {}).get("storage") or "0")
    if size.nanos < had.nanos and size.nanos <= reached.nanos:
        return [forbidden_field("spec.resources.requests.storage", "field can not be less than status.capacity")]
    return []


def _attributes_causes(name: str | None, had: str | None) -> list[Cause]:
    path = "spec.volumeAttributesClassName"
    if had is not None and name is None:
        return [forbidden_field(path, "update from non-nil value to nil is forbidden")]
    if had is not None and not name:
        return [forbidden_field(path, "update from non-nil value to an empty string is forbidden")]
    return []


def _status_causes(status: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for field in ("capacity", "allocatedResources"):
        for name, value in (status.get(field) or {}).items():
            complaint = quantity.validate(value)
            if complaint is None and quantity.parse(value).nanos < 0:
                complaint = "must be greater than or equal to 0"
            if complaint:
                found.append(invalid_value(f"status.{field}[{name}]", value, complaint))
    for name, value in (status.get("allocatedResourceStatuses") or {}).items():
        if value not in _RESIZES:
            found.append(not_supported("status.allocatedResourceStatus", name, _RESIZES))
    return found


def _present(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if value is not None}
