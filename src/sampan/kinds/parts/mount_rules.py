"""Which mounts and devices of a container are refused: each of a volume that is there, each at a place of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import path_rules
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_found_field, not_supported, required

Container = Mapping[str, Any]

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_CLAIMS = ("persistentVolumeClaim", "ephemeral")


def causes(container: Container, path: str, volumes: Mapping[str, Any]) -> list[Cause]:
    """All that is wrong with `volumeMounts` and `volumeDevices`. `volumes` are the pod's, by name."""
    mounts, devices = container.get("volumeMounts") or (), container.get("volumeDevices") or ()
    if not mounts and not devices:
        return []
    found = _mounts_causes(container, mounts, f"{path}.volumeMounts", volumes)
    if devices:
        found += _overlap_causes(mounts, devices, path)
        found += _devices_causes(devices, f"{path}.volumeDevices", volumes)
    return found


def _mounts_causes(
    container: Container, mounts: Sequence[Container], path: str, volumes: Mapping[str, Any]
) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            found.append(required(f"{where}.name"))
        if name not in volumes:
            found.append(not_found_field(f"{where}.name", name))
        if not target:
            found.append(required(f"{where}.mountPath"))
        if target in seen:
            found.append(invalid_value(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        if mount.get("subPath"):
            found += path_rules.inner_causes(mount["subPath"], f"{path}.subPath")
        if mount.get("subPathExpr"):
            expression = mount["subPathExpr"]
            if mount.get("subPath"):
                text = "subPathExpr and subPath are mutually exclusive"
                found.append(invalid_value(f"{where}.subPathExpr", expression, text))
            found += path_rules.inner_causes(expression, f"{path}.subPathExpr")
        found += _propagation_causes(container, mount, path)
    return found


def _propagation_causes(container: Container, mount: Container, path: str) -> list[Cause]:
    found: list[Cause] = []
    propagation, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
    if propagation is not None and propagation not in _PROPAGATIONS:
        found.append(not_supported(f"{path}.mountPropagation", propagation, _PROPAGATIONS))
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        text = "Bidirectional mount propagation is available only to privileged containers"
        found.append(forbidden_field(f"{path}.mountPropagation", text))
    where = f"{path}.recursiveReadOnly"
    if recursive is not None and recursive not in _RECURSIVE:
        found.append(not_supported(where, recursive, _RECURSIVE))
    elif recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            found.append(forbidden_field(where, "may only be specified when readOnly is true"))
        if propagation not in (None, "None"):
            text = "may only be specified when mountPropagation is None or not specified"
            found.append(forbidden_field(where, text))
    return found


def _overlap_causes(mounts: Sequence[Container], devices: Sequence[Container], path: str) -> list[Cause]:
    """A volume is mounted or a device, not both; and a place holds one of them."""
    found: list[Cause] = []
    pairs = (
        ("volumeMounts", mounts, "mountPath", "volumeDevices", devices, "devicePath"),
        ("volumeDevices", devices, "devicePath", "volumeMounts", mounts, "mountPath"),
    )
    for field, ours, place, other, theirs, their_place in pairs:
        names, places = {o.get("name") for o in theirs}, {o.get(their_place) for o in theirs}
        for index, one in enumerate(ours):
            where = f"{path}.{field}[{index}]"
            if one.get("name") in names:
                found.append(
                    invalid_value(f"{where}.name", one.get("name") or "", f"must not already exist in {other}")
                )
            if one.get(place) in places:
                text = f"must not already exist as a path in {other}"
                found.append(invalid_value(f"{where}.{place}", one.get(place), text))
    return found


def _devices_causes(devices: Sequence[Container], path: str, volumes: Mapping[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for index, device in enumerate(devices):
        where = f"{path}[{index}]"
        name, place = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            found.append(required(f"{where}.name"))
        elif any(d.get("name") == name for d in devices[:index]):
            found.append(invalid_value(f"{where}.name", name, "must be unique"))
        if name not in volumes:
            found.append(not_found_field(f"{where}.name", name))
        elif not any(volumes[name].get(source) is not None for source in _CLAIMS):
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            found.append(invalid_value(f"{where}.name", name, text))
        if not place:
            found.append(required(f"{where}.devicePath"))
        elif any(d.get("devicePath") == place for d in devices[:index]):
            found.append(invalid_value(f"{where}.devicePath", place, "must be unique"))
        if path_rules.backstep_causes(place, where):
            found.append(invalid_value(f"{where}.devicePath", place, "can not contain backsteps ('..')"))
    return found
