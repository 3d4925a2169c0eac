"""Which specs of a PersistentVolume are refused: on its own, or inline in a VolumeAttachment.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

import posixpath
from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import node_selector_rules, storage_rules, volume_sources
from sampan.meta import names, quantity
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

Spec = Mapping[str, Any]

SOURCES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
    "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")

_SHOWN = {"gcePersistentDisk": "persistentDisk"}
_SHOWN_TWICE = {"cephfs": "cephFS"}
_SECRETS = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip
_INLINE = "may not be specified in the context of inline volumes"


def causes(spec: Spec, path: str) -> list[Cause]:
    """All that is wrong with the spec of a PersistentVolume."""
    found = _mode_causes(spec, path) + _capacity_causes(spec.get("capacity") or {}, f"{path}.capacity")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in RECLAIM_POLICIES:
        found.append(not_supported(f"{path}.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES))
    found += affinity_causes(spec.get("nodeAffinity"), f"{path}.nodeAffinity")
    found += _source_causes(spec, path)
    if spec.get("local") is not None and spec.get("nodeAffinity") is None:
        found.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    target = (spec.get("hostPath") or {}).get("path")
    if target and posixpath.normpath(target) == "/" and policy == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        found.append(forbidden_field(f"{path}.persistentVolumeReclaimPolicy", text))
    if spec.get("storageClassName"):
        found += storage_rules.name_causes(spec["storageClassName"], f"{path}.storageClassName")
    mode = spec.get("volumeMode")
    if mode is not None and mode not in storage_rules.VOLUME_MODES:
        found.append(not_supported(f"{path}.volumeMode", mode, storage_rules.VOLUME_MODES))
    return found + _attributes_causes(spec, path)


def inline_causes(spec: Spec, path: str) -> list[Cause]:
    """All that is wrong with the spec of a volume that only a VolumeAttachment knows."""
    found = [
        forbidden_field(f"{path}.{field}", _INLINE)
        for field in ("claimRef", "capacity", "nodeAffinity", "storageClassName")
        if spec.get(field)
    ]
    if spec.get("csi") is None:
        found.append(required(f"{path}.csi", "has to be specified in the context of inline volumes"))
    found += _mode_causes(spec, path)
    if spec.get("persistentVolumeReclaimPolicy") not in (None, "", "Retain"):
        text = "may only be Retain in the context of inline volumes"
        found.append(forbidden_field(f"{path}.persistentVolumeReclaimPolicy", text))
    if spec.get("volumeMode") not in (None, "Filesystem"):
        text = "may not specify volumeMode other than Filesystem in the context of inline volumes"
        found.append(forbidden_field(f"{path}.volumeMode", text))
    return found + _source_causes(spec, path)


def affinity_causes(affinity: Spec | None, path: str) -> list[Cause]:
    """From which nodes a volume can be reached: a selector, when anything is said at all."""
    if affinity is None:
        return []
    if affinity.get("required") is None:
        return [required(f"{path}.required", "must specify required node constraints")]
    return node_selector_rules.causes(affinity["required"], f"{path}.required")


def _mode_causes(spec: Spec, path: str) -> list[Cause]:
    modes = spec.get("accessModes") or ()
    found = [] if modes else [required(f"{path}.accessModes")]
    return found + storage_rules.access_mode_causes(modes, f"{path}.accessModes")


def _capacity_causes(capacity: Mapping[str, Any], path: str) -> list[Cause]:
    found = [] if capacity else [required(path)]
    if set(capacity) != {"storage"}:
        found.append(not_supported(path, dict(capacity), ["storage"]))
    for name, value in capacity.items():
        complaint = quantity.validate(value)
        if complaint:
            found.append(invalid_value(f"{path}[{name}]", value, complaint))
            continue
        if (whole := quantity.parse(value).to_int) < 0:
            found.append(invalid_value(f"{path}[{name}]", whole, "must be a valid resource quantity"))
        if quantity.parse(value).nanos <= 0:
            found.append(invalid_value(f"{path}[{name}]", value, "must be greater than zero"))
    return found


def _source_causes(spec: Spec, path: str) -> list[Cause]:
    given = [kind for kind in SOURCES if spec.get(kind) is not None]
    if not given:
        return [required(path, "must specify a volume type")]
    kind = given[0]
    where = f"{path}.{_SHOWN.get(kind, kind)}"
    found = volume_sources.causes(kind, spec[kind], where, persistent=True) + _own_causes(kind, spec[kind], where)
    text = "may not specify more than 1 volume type"
    return found + [forbidden_field(f"{path}.{_SHOWN_TWICE.get(k, k)}", text) for k in given[1:]]


def _own_causes(kind: str, source: Spec, path: str) -> list[Cause]:
    """What a PersistentVolume's source has beyond a pod's: namespaces of secrets and endpoints."""
    found: list[Cause] = []
    secret = source.get("secretRef")
    if kind in {"cinder", "storageos"} and secret is not None:
        found += [required(f"{path}.secretRef.{f}") for f in ("name", "namespace") if not secret.get(f)]
    elif kind == "azureFile" and source.get("secretNamespace") == "":
        found.append(required(f"{path}.secretNamespace"))
    elif kind == "glusterfs" and source.get("endpointsNamespace") is not None:
        value, where = source["endpointsNamespace"], f"{path}.endpointsNamespace"
        if not value:
            text = "if the endpointnamespace is set, it must be a valid namespace name"
            return [invalid_value(where, value, text)]
        found += [invalid_value(where, value, text) for text in names.dns1123_label(value)]
    elif kind == "csi":
        if not source.get("volumeHandle"):
            found.append(required(f"{path}.volumeHandle"))
        for field in _SECRETS:
            if source.get(field) is not None:
                found += storage_rules.secret_causes(source[field], f"{path}.{field}")
    return found


def _attributes_causes(spec: Spec, path: str) -> list[Cause]:
    name, where = spec.get("volumeAttributesClassName"), f"{path}.volumeAttributesClassName"
    if name is None:
        return []
    found = storage_rules.name_causes(name, where) if name else [required(where, "an empty string is disallowed")]
    if spec.get("csi") is None:
        found.append(required(f"{path}.csi", "has to be specified when using volumeAttributesClassName"))
    return found
