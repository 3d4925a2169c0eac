"""VolumeAttachment: the wish that a volume be attached to a node, and whether it is.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume-attachment-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, storage_rules, volume_defaults, volume_spec_rules
from sampan.meta import names
from sampan.meta.status import Cause, forbidden_field, invalid_value, required, too_long

VOLUMEATTACHMENT = Kind(
    group="storage.k8s.io",
    versions=("v1",),
    name="VolumeAttachment",
    plural="volumeattachments",
    scope=CLUSTER,
    schema="io.k8s.api.storage.v1.VolumeAttachment",
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(
        Column("Attacher", "spec.attacher", format="name"),
        Column("PV", "spec.source.persistentVolumeName"),
        Column("Node", "spec.nodeName"),
        Column("Attached", lambda o, now: bool((o.get("status") or {}).get("attached")), kind="boolean"),
        cells.AGE,
    ),
    unconditional=False,
    answers_deleted=True,
)

_MAX_METADATA = 256 * 1024
_MAX_MESSAGE = 1024
_MAX_CODE = 2**31 - 1
_ONE_TEXT = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def default(obj: Object) -> None:
    """The source of an inline volume, as a PersistentVolume's; not attached."""
    spec = obj.setdefault("spec", {})
    inline = (spec.get("source") or {}).get("inlineVolumeSpec")
    if inline is not None:
        volume_defaults.fill(inline)
        inline.setdefault("volumeMode", "Filesystem")
    default_status(obj)


def default_status(obj: Object) -> None:
    """Not attached."""
    status = obj.setdefault("status", {})
    if status.get("attached") is None:
        status["attached"] = False


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one is not attached yet."""
    if old is None:
        new["status"] = {"attached": False}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """What, where and by whom, and it stays so."""
    spec, status = new.get("spec") or {}, new.get("status") or {}
    causes: list[Cause] = []
    if old is None:
        causes += _spec_causes(spec)
    elif spec != (old.get("spec") or {}):
        causes.append(invalid_value("spec", spec, "field is immutable"))
    size = sum(len(k.encode()) + len(v.encode()) for k, v in (status.get("attachmentMetadata") or {}).items())
    if size > _MAX_METADATA:
        causes.append(too_long("status.attachmentMetadata", _MAX_METADATA))
    for field in ("attachError", "detachError"):
        causes += _error_causes(status.get(field) or {}, f"status.{field}")
    return causes


def _spec_causes(spec: dict[str, Any]) -> list[Cause]:
    found = storage_rules.driver_causes(spec.get("attacher") or "", "spec.attacher")
    found += _source_causes(spec.get("source") or {})
    node = spec.get("nodeName") or ""
    return found + [invalid_value("spec.nodeName", node, text) for text in names.dns1123_subdomain(node)]


def _source_causes(source: dict[str, Any]) -> list[Cause]:
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if name is None and inline is None:
        return [required("spec.source", _ONE_TEXT)]
    if name is not None and inline is not None:
        return [forbidden_field("spec.source", _ONE_TEXT)]
    if inline is not None:
        return volume_spec_rules.inline_causes(inline, "spec.source.inlineVolumeSpec")
    path = "spec.source.persistentVolumeName"
    return (
        storage_rules.name_causes(name, path)
        if name
        else [required(path, "must specify non empty persistentVolumeName")]
    )


def _error_causes(error: dict[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    if len(error.get("message") or "") > _MAX_MESSAGE:
        found.append(too_long(f"{path}.message", _MAX_MESSAGE))
    code = error.get("errorCode")
    if code is not None and code < 0:
        found.append(invalid_value(f"{path}.errorCode", code, f"must be between 0 and {_MAX_CODE}, inclusive"))
    return found
