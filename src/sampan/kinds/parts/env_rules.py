"""Which environment variables of a container are refused: names, and where values come from."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import field_ref_rules, path_rules
from sampan.meta import names
from sampan.meta.status import Cause, invalid_value, required

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_SOURCES_TEXT = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def causes(env: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    """All that is wrong with `env`."""
    found: list[Cause] = []
    for index, variable in enumerate(env):
        name = variable.get("name")
        if not name:
            found.append(required(f"{path}[{index}].name"))
        else:
            found += [invalid_value(f"{path}[{index}].name", name, text) for text in names.env_var_name(name)]
        source = variable.get("valueFrom")
        if source is not None:
            has_value = bool(variable.get("value"))
            found += _source_causes(source, f"{path}[{index}].valueFrom", has_value=has_value)
    return found


def from_causes(sources: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    """All that is wrong with `envFrom`."""
    found: list[Cause] = []
    for index, source in enumerate(sources):
        prefix = source.get("prefix")
        if prefix:
            found += [invalid_value(f"{path}[{index}].prefix", prefix, t) for t in names.env_var_name(prefix)]
        given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        for reference in given:
            found += _object_causes(source[reference], f"{path}[{index}].{reference}")
        if not given:
            found.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(invalid_value(path, "", "may not have more than one field specified at a time"))
    return found


def _object_causes(reference: Mapping[str, Any], path: str) -> list[Cause]:
    name = reference.get("name")
    if not name:
        return [required(f"{path}.name")]
    return [invalid_value(f"{path}.name", name, text) for text in names.dns1123_subdomain(name)]


def _source_causes(source: Mapping[str, Any], path: str, *, has_value: bool) -> list[Cause]:
    given = [name for name in _SOURCES if source.get(name) is not None]
    found = [cause for name in given for cause in _CHECKS[name](source[name], f"{path}.{name}")]
    if not given:
        found.append(invalid_value(path, "", f"must specify one of: {_SOURCES_TEXT}"))
    elif has_value:
        found.append(invalid_value(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        found.append(invalid_value(path, "", "may not have more than one field specified at a time"))
    return found


def _field_causes(reference: Mapping[str, Any], path: str) -> list[Cause]:
    return field_ref_rules.field_causes(reference, path, field_ref_rules.IN_VARIABLES)


def _resource_causes(reference: Mapping[str, Any], path: str) -> list[Cause]:
    return field_ref_rules.resource_causes(reference, path, in_volume=False)


def _key_causes(reference: Mapping[str, Any], path: str) -> list[Cause]:
    name, key = reference.get("name") or "", reference.get("key")
    found = [invalid_value(f"{path}.name", name, text) for text in names.dns1123_subdomain(name)]
    if not key:
        return [*found, required(f"{path}.key")]
    return found + [invalid_value(f"{path}.key", key, text) for text in names.config_map_key(key)]


def _file_causes(reference: Mapping[str, Any], path: str) -> list[Cause]:
    key, volume, file = (reference.get(name) or "" for name in ("key", "volumeName", "path"))
    found = (
        [invalid_value(f"{path}.key", key, t) for t in names.env_var_name(key)] if key else [required(f"{path}.key")]
    )
    if not volume:
        found.append(required(f"{path}.volumeName"))
    else:
        found += [invalid_value(f"{path}.volumeName", volume, text) for text in names.dns1123_label(volume)]
    return found + (path_rules.file_causes(file, f"{path}.path") if file else [required(f"{path}.path")])


_CHECKS = {
    "fieldRef": _field_causes,
    "resourceFieldRef": _resource_causes,
    "configMapKeyRef": _key_causes,
    "secretKeyRef": _key_causes,
    "fileKeyRef": _file_causes,
}
