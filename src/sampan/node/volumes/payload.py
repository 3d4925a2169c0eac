"""Payload: the files of configMap, secret, downwardAPI and projected volumes (pure).

Result: file path below the volume -> (content, mode). Keys and paths are checked here once more: no
file may leave its volume.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.node.volumes import downward, sources
from sampan.node.volumes.failure import VolumeFailure
from sampan.node.volumes.sources import Sources

Object = Mapping[str, Any]

_DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class File:
    """One file's content, permission bits and owner (None: root)."""

    content: bytes
    mode: int = _DEFAULT_MODE
    owner: int | None = None


Payload = dict[str, File]


def of_volume(pod: Object, volume: Object, given: Sources) -> Payload | None:
    """The files of the volume, or None if it is of a kind that has none. VolumeFailure if one is missing."""
    if "configMap" in volume:
        spec = volume["configMap"]
        return _of_config_map(spec, given, _mode(spec))
    if "secret" in volume:
        spec = {**volume["secret"], "name": volume["secret"].get("secretName", "")}
        return _of_secret(spec, given, _mode(spec))
    if "downwardAPI" in volume:
        return _of_downward(pod, volume["downwardAPI"], given, _mode(volume["downwardAPI"]))
    if "projected" in volume:
        return _of_projected(pod, volume["projected"], given)
    return None


def _of_projected(pod: Object, spec: Object, given: Sources) -> Payload:
    mode = _mode(spec)
    payload: Payload = {}
    for part in spec.get("sources") or ():
        if "configMap" in part:
            payload.update(_of_config_map(part["configMap"], given, mode))
        elif "secret" in part:
            payload.update(_of_secret(part["secret"], given, mode))
        elif "downwardAPI" in part:
            payload.update(_of_downward(pod, part["downwardAPI"], given, mode))
        elif "serviceAccountToken" in part:
            payload.update(_of_token(pod, part["serviceAccountToken"], given, mode))
        else:
            kind = next(iter(part), "nothing")
            raise VolumeFailure(f"projected volume source {kind} is not supported")
    return payload


def _of_config_map(spec: Object, given: Sources, mode: int) -> Payload:
    name = spec.get("name", "")
    found = given.config_maps.get(name)
    if found is None:
        return _absent(spec, f'configmap "{name}" not found')
    texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return _select(spec, {**texts, **binary}, mode)


def _of_secret(spec: Object, given: Sources, mode: int) -> Payload:
    name = spec.get("name", "")
    found = given.secrets.get(name)
    if found is None:
        return _absent(spec, f'secret "{name}" not found')
    data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    return _select(spec, data, mode)


def _of_downward(pod: Object, spec: Object, given: Sources, mode: int) -> Payload:
    payload: Payload = {}
    for item in spec.get("items") or ():
        if "fieldRef" in item:
            text = downward.field(pod, item["fieldRef"]["fieldPath"])
        else:
            text = downward.resource(pod, item.get("resourceFieldRef") or {}, allocatable=given.allocatable)
        payload[_checked(item["path"])] = File(text.encode(), _mode(item, mode, "mode"))
    return payload


def _of_token(pod: Object, spec: Object, given: Sources, mode: int) -> Payload:
    """With fsGroup, or one user for all containers, they and root alone may read a token."""
    token = given.tokens.get(sources.token_key(spec))
    if token is None:
        account = pod["spec"].get("serviceAccountName", "default")
        raise VolumeFailure(f'failed to fetch token for service account "{account}"')
    owner = _sole_user(pod["spec"])
    if owner is not None or (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None:
        mode = 0o600
    return {_checked(spec["path"]): File(token.encode(), mode, owner)}


def _sole_user(spec: Object) -> int | None:
    """The user that all containers are said to run as, if it is one."""
    default = (spec.get("securityContext") or {}).get("runAsUser")
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    users = {(each.get("securityContext") or {}).get("runAsUser", default) for each in containers}
    user: int | None = users.pop()
    return None if users else user


def _select(spec: Object, data: Mapping[str, bytes], mode: int) -> Payload:
    """All keys under their own names, or the listed ones under the paths asked for."""
    items = spec.get("items")
    if not items:
        return {_checked(key): File(content, mode) for key, content in data.items()}
    payload: Payload = {}
    for item in items:
        if item["key"] in data:
            payload[_checked(item["path"])] = File(data[item["key"]], _mode(item, mode, "mode"))
        elif not spec.get("optional"):
            raise VolumeFailure(f"references non-existent config key: {item['key']}")
    return payload


def _absent(spec: Object, message: str) -> Payload:
    if spec.get("optional"):
        return {}
    raise VolumeFailure(message)


def _checked(path: str) -> str:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or "" in parts or parts[0].startswith(".."):
        raise VolumeFailure(f"invalid path: must not be absolute, empty or contain '..': {path}")
    return path


def _mode(spec: Object, default: int = _DEFAULT_MODE, key: str = "defaultMode") -> int:
    mode = spec.get(key)
    return default if mode is None else int(mode)


_KNOWN = frozenset(
    (
        "name", "emptyDir", "hostPath", "configMap", "secret", "downwardAPI", "projected", "persistentVolumeClaim",
        "ephemeral", "image", "csi", "nfs",
    )
)  # fmt: skip


def unsupported(volumes: Iterable[Object]) -> str | None:
    """Why one of the volumes can't be had here at all, or None."""
    for volume in volumes:
        other = sorted(set(volume) - _KNOWN)
        if other:
            return f'volume "{volume["name"]}": volumes of type {other[0]} are not supported'
    return None
