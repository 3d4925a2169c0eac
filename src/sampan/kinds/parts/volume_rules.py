"""Which volumes are refused: a name, one source, and paths that stay inside."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import container_rules, not_yet
from sampan.meta import names, quantity
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_MAX_MODE = 0o777
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_MIN_TOKEN_SECONDS = 600


def causes(volumes: Sequence[Mapping[str, Any]], path: str, by_name: dict[str, Any]) -> list[Cause]:
    """All that is wrong with the volumes; fills `by_name` with those that have a good name."""
    found: list[Cause] = []
    for index, volume in enumerate(volumes):
        where = f"{path}[{index}]"
        sources = [name for name, value in volume.items() if name != "name" and value is not None]
        for source in sources[:1]:
            check = _CHECKS.get(source)
            if check is not None:
                found += check(volume[source], f"{where}.{source}")
            found += not_yet.volume_causes(volume, source, where)
        found += [forbidden_field(f"{where}.{s}", "may not specify more than 1 volume type") for s in sources[1:]]
        if not sources:
            found.append(required(where, "must specify a volume type"))
        found += _name_causes(volume.get("name") or "", f"{where}.name", by_name)
        if volume.get("name"):
            by_name[volume["name"]] = volume
    return found


def _name_causes(name: str, path: str, known: Mapping[str, Any]) -> list[Cause]:
    if not name:
        return [required(path)]
    errors = names.dns1123_label(name)
    if errors:
        return [invalid_value(path, name, text) for text in errors]
    return [duplicate(path, name)] if name in known else []


def _items_causes(source: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    mode = source.get("defaultMode")
    if mode is not None and not 0 <= mode <= _MAX_MODE:
        found.append(invalid_value(f"{path}.defaultMode", mode, _MODE_TEXT))
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not item.get("key"):
            found.append(required(f"{where}.key"))
        found += _target_causes(item, where)
    return found


def _target_causes(item: Mapping[str, Any], path: str) -> list[Cause]:
    target, mode = item.get("path") or "", item.get("mode")
    found = container_rules.relative_causes(target, f"{path}.path") if target else [required(f"{path}.path")]
    if mode is not None and not 0 <= mode <= _MAX_MODE:
        found.append(invalid_value(f"{path}.mode", mode, _MODE_TEXT))
    return found


def _config_map(source: Mapping[str, Any], path: str) -> list[Cause]:
    missing = [] if source.get("name") else [required(f"{path}.name")]
    return missing + _items_causes(source, path)


def _secret(source: Mapping[str, Any], path: str) -> list[Cause]:
    missing = [] if source.get("secretName") else [required(f"{path}.secretName")]
    return missing + _items_causes(source, path)


def _empty_dir(source: Mapping[str, Any], path: str) -> list[Cause]:
    limit = source.get("sizeLimit")
    complaint = quantity.validate(limit) if limit is not None else None
    return [invalid_value(f"{path}.sizeLimit", str(limit), complaint)] if complaint else []


def _host_path(source: Mapping[str, Any], path: str) -> list[Cause]:
    target = source.get("path")
    if not target:
        return [required(f"{path}.path")]
    found = []
    if ".." in target.split("/"):
        found.append(invalid_value(f"{path}.path", target, "must not contain '..'"))
    if source.get("type") not in (None, *_HOST_PATH_TYPES):
        found.append(not_supported(f"{path}.type", source["type"], _HOST_PATH_TYPES))
    return found


def _claim(source: Mapping[str, Any], path: str) -> list[Cause]:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


def _downward(source: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        found += _target_causes(item, where)
        if not item.get("fieldRef") and not item.get("resourceFieldRef"):
            found.append(required(where, "one of fieldRef and resourceFieldRef is required"))
    return found


def _projected(source: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, part in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        for name in ("configMap", "secret"):
            if part.get(name) is not None:
                if not part[name].get("name"):
                    found.append(required(f"{where}.{name}.name"))
                found += _items_causes(part[name], f"{where}.{name}")
        if part.get("downwardAPI") is not None:
            found += _downward(part["downwardAPI"], f"{where}.downwardAPI")
        if part.get("serviceAccountToken") is not None:
            found += _token(part["serviceAccountToken"], f"{where}.serviceAccountToken")
    return found


def _token(source: Mapping[str, Any], path: str) -> list[Cause]:
    seconds = source.get("expirationSeconds")
    found = []
    if seconds is not None and seconds < _MIN_TOKEN_SECONDS:
        text = "may not specify a duration less than 10 minutes"
        found.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
    target = source.get("path") or ""
    return found + (container_rules.relative_causes(target, f"{path}.path") if target else [required(f"{path}.path")])


_CHECKS = {
    "configMap": _config_map,
    "secret": _secret,
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "projected": _projected,
}
