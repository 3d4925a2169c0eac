"""PersistentVolume: a piece of storage in the cluster, which outlives pods.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, difference, storage_rules, volume_defaults, volume_spec_rules
from sampan.meta.status import Cause, forbidden_field, invalid_value


def _capacity_text(obj: Object, now: float) -> str:
    return str(((obj.get("spec") or {}).get("capacity") or {}).get("storage") or "0")


def _claim_text(obj: Object, now: float) -> str:
    claim = (obj.get("spec") or {}).get("claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _spec_or_unset(field: str) -> Any:
    return lambda obj, now: storage_rules.or_unset((obj.get("spec") or {}).get(field))


PERSISTENTVOLUME = Kind(
    group="",
    versions=("v1",),
    name="PersistentVolume",
    plural="persistentvolumes",
    scope=CLUSTER,
    schema="io.k8s.api.core.v1.PersistentVolume",
    short_names=("pv",),
    subresources=(STATUS,),
    columns=(
        Column("Capacity", _capacity_text),
        Column(
            "Access Modes", lambda o, now: storage_rules.access_modes_text((o.get("spec") or {}).get("accessModes"))
        ),
        Column("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        Column("Status", storage_rules.phase_text),
        Column("Claim", _claim_text),
        Column("StorageClass", lambda o, now: storage_rules.class_text(o), description="StorageClass of the pv"),
        Column(
            "VolumeAttributesClass",
            _spec_or_unset("volumeAttributesClassName"),
            description="VolumeAttributesClass of the pv",
        ),
        Column("Reason", "status.reason"),
        cells.AGE,
        Column("VolumeMode", _spec_or_unset("volumeMode"), wide=True),
    ),
    answers_deleted=True,
)


def default(obj: Object) -> None:
    """Kept when released, a file system; Pending, until someone looks at it."""
    spec = obj.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    spec.setdefault("volumeMode", "Filesystem")
    volume_defaults.fill(spec)
    default_status(obj)


def default_status(obj: Object) -> None:
    """Pending, until someone looks at it."""
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one is Pending since its creation."""
    if old is None:
        new["status"] = {"phase": "Pending"}
        created = new["metadata"].get("creationTimestamp")
        if created:
            new["status"]["lastPhaseTransitionTime"] = created


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A whole spec; afterwards the source stays."""
    if subresource == "status":
        return ()
    spec = new.get("spec") or {}
    causes = volume_spec_rules.causes(spec, "spec")
    return causes if old is None else causes + _update_causes(spec, old.get("spec") or {})


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """What is deprecated: the old annotation, kinds of storage, recycling."""
    spec = new.get("spec") or {}
    found = []
    if storage_rules.CLASS_ANNOTATION in (new["metadata"].get("annotations") or {}):
        text = 'deprecated since v1.8; use "storageClassName" attribute instead'
        found.append(f"metadata.annotations[{storage_rules.CLASS_ANNOTATION}]: {text}")
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
        found.append(f"spec.persistentVolumeReclaimPolicy: {text}")
    return found + [f"spec.{kind}: {text}" for kind, text in _DEPRECATED.items() if spec.get(kind) is not None]


_DEPRECATED = {
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}


def _update_causes(spec: dict[str, Any], before: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    sources = {kind: _source(spec, before, kind) for kind in volume_spec_rules.SOURCES}
    had = {kind: before.get(kind) for kind in volume_spec_rules.SOURCES}
    if sources != had:
        text = f"spec.persistentvolumesource is immutable after creation\n{difference.text(had, sources)}"
        found.append(forbidden_field("spec.persistentvolumesource", text))
    if spec.get("volumeMode") != before.get("volumeMode"):
        found.append(invalid_value("volumeMode", spec.get("volumeMode"), "field is immutable"))
    affinity = before.get("nodeAffinity")
    if affinity is not None and spec.get("nodeAffinity") != affinity:
        found.append(invalid_value("nodeAffinity", spec.get("nodeAffinity"), "field is immutable"))
    field = "volumeAttributesClassName"
    if before.get(field) is not None and spec.get(field) is None:
        text = "update from non-nil value to nil is forbidden"
        found.append(forbidden_field("spec.volumeAttributesClassName", text))
    return found


def _source(spec: dict[str, Any], before: dict[str, Any], kind: str) -> Any:
    """The source as it counts: a CSI volume may get a secret for its expansion later."""
    source = spec.get(kind)
    if kind != "csi" or not source or not before.get("csi") or before["csi"].get("controllerExpandSecretRef"):
        return source
    return {name: value for name, value in source.items() if name != "controllerExpandSecretRef"}
