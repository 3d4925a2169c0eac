"""Which sources of a volume are refused, whether a pod names them itself or a PersistentVolume does.

https://kubernetes.io/docs/concepts/storage/volumes/
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sampan.kinds.parts import path_rules, storage_rules
from sampan.meta import names
from sampan.meta.status import Cause, invalid_value, not_supported, required

Source = Mapping[str, Any]

HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_REQUIRED = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "hostPath": ("path",),
    "iscsi": ("targetPortal", "iqn"),
    "local": ("path",),
    "nfs": ("server", "path"),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("volume",),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "storageos": ("volumeName",),
    "vsphereVolume": ("volumePath",),
}
_MAX_BYTE = 255
_BYTE_TEXT = "must be between 0 and 255, inclusive"
_PARTITION_TEXT = "must be between 1 and 255, inclusive"
_IQN = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([0-9A-Za-z.-]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"eui.[0-9A-Za-z]{16}$"),
    "naa": re.compile(r"naa.[0-9A-Za-z]{32}$"),
}
_FORM = "must be valid format"
_RESERVED = (".kubernetes.io", ".k8s.io")
_CACHING = ("None", "ReadOnly", "ReadWrite")
_DISKS = ("Dedicated", "Managed", "Shared")
_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_PAIRS_TEXT = "must be a host:port pair or multiple pairs separated by commas"
_MAX_TENANT = 64


def causes(kind: str, source: Source, path: str, *, persistent: bool = False) -> list[Cause]:
    """All that is wrong with a source of the kind, such as nfs, in a pod or (`persistent`) in a PersistentVolume."""
    found = [required(f"{path}.{field}") for field in _REQUIRED.get(kind, ()) if not source.get(field)]
    check = _persistent_iscsi if persistent and kind == "iscsi" else _CHECKS.get(kind)
    return found + check(source, path) if check else found


def _host_path(source: Source, path: str) -> list[Cause]:
    if not source.get("path"):
        return []
    found = path_rules.backstep_causes(source["path"], f"{path}.path")
    if source.get("type") not in (None, *HOST_PATH_TYPES):
        found.append(not_supported(f"{path}.type", source["type"], HOST_PATH_TYPES))
    return found


def _local(source: Source, path: str) -> list[Cause]:
    return path_rules.backstep_causes(source.get("path") or "", f"{path}.path")


def _nfs(source: Source, path: str) -> list[Cause]:
    target = source.get("path") or ""
    return [] if target.startswith("/") else [invalid_value(f"{path}.path", target, "must be an absolute path")]


def _partition(source: Source, path: str) -> list[Cause]:
    number = source.get("partition") or 0
    return [] if 0 <= number <= _MAX_BYTE else [invalid_value(f"{path}.partition", number, _PARTITION_TEXT)]


def _iscsi(source: Source, path: str) -> list[Cause]:
    return _iscsi_causes(source, path, "must be valid format starting with iqn, eui, or naa")


def _persistent_iscsi(source: Source, path: str) -> list[Cause]:
    found, secret = _iscsi_causes(source, path, _FORM), source.get("secretRef")
    return [*found, required(f"{path}.secretRef.name")] if secret is not None and not secret.get("name") else found


def _iscsi_causes(source: Source, path: str, beginning: str) -> list[Cause]:
    """`beginning` is said of names that begin otherwise."""
    found: list[Cause] = []
    iqn, lun = source.get("iqn") or "", source.get("lun") or 0
    if iqn:
        found += _iqn_causes(iqn, f"{path}.iqn", beginning)
    if not 0 <= lun <= _MAX_BYTE:
        found.append(invalid_value(f"{path}.lun", lun, _BYTE_TEXT))
    secret = source.get("secretRef")
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
        found.append(required(f"{path}.secretRef"))
    initiator = source.get("initiatorName")
    return found if initiator is None else found + _iqn_causes(initiator, f"{path}.initiatorname", beginning)


def _iqn_causes(name: str, path: str, beginning: str) -> list[Cause]:
    form = _IQN.get(name[:3])
    if form is None:
        return [invalid_value(path, name, beginning)]
    return [] if form.match(name) else [invalid_value(path, name, _FORM)]


def _fibre_channel(source: Source, path: str) -> list[Cause]:
    targets, wwids, lun = source.get("targetWWNs") or [], source.get("wwids") or [], source.get("lun")
    where = f"{path}.targetWWNs"
    found: list[Cause] = []
    if not targets and not wwids:
        found.append(required(where, "must specify either targetWWNs or wwids, but not both"))
    if targets and wwids:
        found.append(invalid_value(where, targets, "targetWWNs and wwids can not be specified simultaneously"))
    if targets and lun is None:
        found.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    elif targets and lun is not None and not 0 <= lun <= _MAX_BYTE:
        found.append(invalid_value(f"{path}.lun", lun, _BYTE_TEXT))
    return found


def _quobyte(source: Source, path: str) -> list[Cause]:
    registry = source.get("registry") or ""
    if not registry:
        return [required(f"{path}.registry", _PAIRS_TEXT)]
    if len(source.get("tenant") or "") > _MAX_TENANT:
        return [required(f"{path}.tenant", f"must be a UUID and may not exceed a length of {_MAX_TENANT} characters")]
    wrong = [pair for pair in registry.split(",") if pair.count(":") != 1]
    return [invalid_value(f"{path}.registry", registry, _PAIRS_TEXT) for _ in wrong]


def _flocker(source: Source, path: str) -> list[Cause]:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    found: list[Cause] = []
    if not name and not uuid:
        found.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        text = "datasetName and datasetUUID can not be specified simultaneously"
        found.append(invalid_value(path, "resource", text))
    if "/" in name:
        found.append(invalid_value(f"{path}.datasetName", name, "must not contain '/'"))
    return found


def _flex(source: Source, path: str) -> list[Cause]:
    text = "kubernetes.io and k8s.io namespaces are reserved"
    return [
        invalid_value(f"{path}.options[{key}]", key, text)
        for key in source.get("options") or {}
        if f".{key.partition('/')[0].lower()}".endswith(_RESERVED)
    ]


def _azure_disk(source: Source, path: str) -> list[Cause]:
    found: list[Cause] = []
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI") or ""
    if caching is not None and caching not in _CACHING:
        found.append(not_supported(f"{path}.cachingMode", caching, _CACHING))
    if kind is not None and kind not in _DISKS:
        found.append(not_supported(f"{path}.kind", kind, _DISKS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        found.append(not_supported(f"{path}.diskURI", uri, [_MANAGED]))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        found.append(not_supported(f"{path}.diskURI", uri, [_BLOB]))
    return found


def _storage_os(source: Source, path: str) -> list[Cause]:
    found: list[Cause] = []
    for field in ("volumeName", "volumeNamespace"):
        value = source.get(field)
        found += [invalid_value(f"{path}.{field}", value, text) for text in names.dns1123_label(value)] if value else []
    return found


def _csi(source: Source, path: str) -> list[Cause]:
    return storage_rules.driver_causes(source.get("driver") or "", f"{path}.driver")


_CHECKS: dict[str, Callable[[Source, str], list[Cause]]] = {
    "awsElasticBlockStore": _partition,
    "azureDisk": _azure_disk,
    "csi": _csi,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _partition,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "local": _local,
    "nfs": _nfs,
    "quobyte": _quobyte,
    "storageos": _storage_os,
}
