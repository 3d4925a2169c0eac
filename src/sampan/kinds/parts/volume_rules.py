"""Which volumes of a pod are refused: a name, one source, and paths that stay inside.

https://kubernetes.io/docs/concepts/storage/volumes/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import claim_rules, field_ref_rules, path_rules, volume_sources
from sampan.meta import names, quantity, validation
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

Volume = Mapping[str, Any]

_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral", "image",
)  # fmt: skip
_SHOWN = {"gcePersistentDisk": "persistentDisk"}
_SHOWN_TWICE = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_PULL = ("Always", "IfNotPresent", "Never")
_MAX_MODE = 0o777
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_MIN_TOKEN_SECONDS = 600
_MAX_TOKEN_SECONDS = 2**32
_MAX_ISCSI = 64
_ISCSI_TEXT = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."


def causes(volumes: Sequence[Volume], path: str, by_name: dict[str, Any], pod: str = "") -> list[Cause]:
    """All that is wrong with the volumes; fills `by_name` with the good ones. `pod` is the pod's name, if it has one."""
    found: list[Cause] = []
    made = {f"{pod}-{v.get('name')}" for v in volumes if v.get("ephemeral") is not None} if pod else set()
    for index, volume in enumerate(volumes):
        where = f"{path}[{index}]"
        name = volume.get("name") or ""
        errors = _source_causes(volume, where, pod) + _name_causes(name, f"{where}.name", by_name)
        if errors:
            found += errors
        else:
            by_name[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in made:
            text = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(invalid_value(f"{where}.persistentVolumeClaim.claimName", claim, text))
    return found


def _source_causes(volume: Volume, path: str, pod: str) -> list[Cause]:
    given = [kind for kind in volume if kind != "name" and volume[kind] is not None]
    if not given:
        return [required(path, "must specify a volume type")]
    if len(given) > 1:
        given.sort(key=_ORDER.index)
    kind = given[0]
    source, where = volume[kind], f"{path}.{_SHOWN.get(kind, kind)}"
    check = _CHECKS.get(kind)
    found = check(source, where) if check else volume_sources.causes(kind, source, where)
    text = "may not specify more than 1 volume type"
    found += [forbidden_field(f"{path}.{_SHOWN_TWICE.get(k, k)}", text) for k in given[1:]]
    name = volume.get("name") or ""
    if kind == "ephemeral" and pod and name:
        claim = f"{pod}-{name}"
        found += [
            invalid_value(f"{path}.name", name, f'PVC name "{claim}": {t}') for t in names.dns1123_subdomain(claim)
        ]
    portal = f"{name}:{source.get('targetPortal') or ''}" if kind == "iscsi" else ""
    if len(portal) > _MAX_ISCSI and source.get("initiatorName") is not None:
        found.append(invalid_value(f"{path}.name", name, _ISCSI_TEXT))
    return found


def _name_causes(name: str, path: str, known: Mapping[str, Any]) -> list[Cause]:
    if not name:
        return [required(path)]
    found = [invalid_value(path, name, text) for text in names.dns1123_label(name)]
    return [*found, duplicate(path, name)] if name in known else found


def _mode_causes(mode: int | None, path: str) -> list[Cause]:
    return [] if mode is None or 0 <= mode <= _MAX_MODE else [invalid_value(path, mode, _MODE_TEXT)]


def _items_causes(source: Volume, path: str) -> list[Cause]:
    found = _mode_causes(source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not item.get("key"):
            found.append(required(f"{where}.key"))
        found += _target_causes(item, where)
    return found


def _target_causes(item: Volume, path: str) -> list[Cause]:
    target = item.get("path") or ""
    found = path_rules.file_causes(target, f"{path}.path") if target else [required(f"{path}.path")]
    return found + _mode_causes(item.get("mode"), f"{path}.mode")


def _config_map(source: Volume, path: str) -> list[Cause]:
    missing = [] if source.get("name") else [required(f"{path}.name")]
    return missing + _items_causes(source, path)


def _secret(source: Volume, path: str) -> list[Cause]:
    missing = [] if source.get("secretName") else [required(f"{path}.secretName")]
    return missing + _items_causes(source, path)


def _empty_dir(source: Volume, path: str) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is None:
        return []
    complaint = quantity.validate(limit)
    if complaint:
        return [invalid_value(f"{path}.sizeLimit", str(limit), complaint)]
    text = "SizeLimit field must be a valid resource quantity"
    return [forbidden_field(f"{path}.sizeLimit", text)] if quantity.parse(limit).nanos < 0 else []


def _claim(source: Volume, path: str) -> list[Cause]:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


def _csi(source: Volume, path: str) -> list[Cause]:
    found = volume_sources.causes("csi", source, path)
    secret = source.get("nodePublishSecretRef")
    if secret is None:
        return found
    name = secret.get("name") or ""
    if not name:
        return [*found, required(f"{path}.nodePublishSecretRef.name")]
    return found + [invalid_value(f"{path}.name", name, text) for text in names.dns1123_subdomain(name)]


def _cinder(source: Volume, path: str) -> list[Cause]:
    return volume_sources.causes("cinder", source, path) + _named_secret(source, path)


def _storage_os(source: Volume, path: str) -> list[Cause]:
    return volume_sources.causes("storageos", source, path) + _named_secret(source, path)


def _named_secret(source: Volume, path: str) -> list[Cause]:
    secret = source.get("secretRef")
    return [required(f"{path}.secretRef.name")] if secret is not None and not secret.get("name") else []


def _git_repo(source: Volume, path: str) -> list[Cause]:
    found = volume_sources.causes("gitRepo", source, path)
    return found + path_rules.inner_causes(source.get("directory") or "", f"{path}.directory")


def _ephemeral(source: Volume, path: str) -> list[Cause]:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [required(f"{path}.volumeClaimTemplate")]
    return claim_rules.template_causes(template, f"{path}.volumeClaimTemplate")


def _image(source: Volume, path: str) -> list[Cause]:
    found = [] if source.get("reference") else [required(f"{path}.reference")]
    policy = source.get("pullPolicy")
    return found if policy in _PULL else [*found, not_supported(f"{path}.pullPolicy", policy or "", _PULL)]


def _downward(source: Volume, path: str) -> list[Cause]:
    found = _mode_causes(source.get("defaultMode"), f"{path}.defaultMode")
    return found + [cause for item in source.get("items") or () for cause in _downward_item(item, path)]


def _downward_item(item: Volume, path: str) -> list[Cause]:
    """Upstream names the list, not the item."""
    found = _target_causes(item, path)
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        found += field_ref_rules.field_causes(field, f"{path}.fieldRef", field_ref_rules.IN_VOLUMES)
        if resource is not None:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(invalid_value(path, "resource", text))
    elif resource is not None:
        found += field_ref_rules.resource_causes(resource, f"{path}.resourceFieldRef", in_volume=True)
    else:
        found.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return found


def _projected(source: Volume, path: str) -> list[Cause]:
    found = _mode_causes(source.get("defaultMode"), f"{path}.defaultMode")
    seen: set[str] = set()
    for index, part in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        given = [kind for kind, value in part.items() if value is not None]
        for kind in given:
            inner = part[kind]
            if kind == "serviceAccountToken":
                found += _token(inner, f"{where}.{kind}", path)
            elif kind == "clusterTrustBundle":
                found += _trust_bundle(inner, f"{where}.{kind}")
            elif kind == "downwardAPI":
                found += [c for item in inner.get("items") or () for c in _downward_item(item, f"{where}.{kind}")]
            elif kind in ("configMap", "secret"):
                found += _config_map(inner, f"{where}.{kind}")
            found += _doubled_causes(inner, path, seen)
        if len(given) > 1:
            found.append(forbidden_field(where, "may not specify more than 1 volume type per source"))
    return found


def _doubled_causes(part: Volume, path: str, seen: set[str]) -> list[Cause]:
    """Two sources may not make one file. Adds to `seen`."""
    found = []
    for item in part.get("items") or ():
        target = item.get("path")
        if target and target in seen:
            found.append(invalid_value(path, part.get("name") or target, "conflicting duplicate paths"))
        seen.add(target or "")
    return found


def _token(source: Volume, path: str, volume: str) -> list[Cause]:
    """Upstream names the volume when the token's path is wrong."""
    seconds = source.get("expirationSeconds")
    found: list[Cause] = []
    if seconds is not None and seconds < _MIN_TOKEN_SECONDS:
        text = "may not specify a duration less than 10 minutes"
        found.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
    if seconds is not None and seconds > _MAX_TOKEN_SECONDS:
        text = "may not specify a duration larger than 2^32 seconds"
        found.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
    target = source.get("path") or ""
    return found + (path_rules.file_causes(target, f"{volume}.path") if target else [required(f"{volume}.path")])


def _trust_bundle(source: Volume, path: str) -> list[Cause]:
    found: list[Cause] = []
    name, signer, target = source.get("name"), source.get("signerName"), source.get("path") or ""
    if name is not None and signer is not None:
        found.append(invalid_value(path, dict(source), "only one of name and signerName may be used"))
    elif name is not None:
        found += [] if name else [required(f"{path}.name", "must be a valid object name")]
        if source.get("labelSelector") is not None:
            text = "labelSelector must be unset if name is specified"
            found.append(invalid_value(f"{path}.labelSelector", source["labelSelector"], text))
    elif signer is not None:
        found += [] if signer else [required(f"{path}.signerName", "must be a valid signer name")]
        found += validation.label_selector(source.get("labelSelector"), f"{path}.labelSelector")
    else:
        found.append(required(path, "either name or signerName must be specified"))
    return found + (path_rules.file_causes(target, f"{path}.path") if target else [required(f"{path}.path")])


_CHECKS = {
    "cinder": _cinder,
    "configMap": _config_map,
    "csi": _csi,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "gitRepo": _git_repo,
    "image": _image,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "secret": _secret,
    "storageos": _storage_os,
}
