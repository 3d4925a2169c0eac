"""What kinds of storage have in common: driver names, class parameters, access modes, secrets; checks and cells."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import names
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required, too_long

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
VOLUME_MODES = ("Block", "Filesystem")

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_ALONE = "ReadWriteOncePod"
_MAX_DRIVER_NAME = 63
_MAX_PARAMETERS = 512
_MAX_PARAMETERS_BYTES = 256 * 1024


def driver_causes(name: str, path: str) -> list[Cause]:
    """The name of a CSI or DRA driver: a DNS name, in any case of letters, of at most 63 characters."""
    found = [] if name else [required(path)]
    if len(name) > _MAX_DRIVER_NAME:
        found.append(too_long(path, _MAX_DRIVER_NAME))
    return found + [invalid_value(path, name, text) for text in names.dns1123_subdomain(name.lower())]


def provisioner_causes(name: str, path: str) -> list[Cause]:
    """Who makes volumes of a class: a qualified name."""
    if not name:
        return [required(path)]
    return [invalid_value(path, name.lower(), text) for text in names.qualified_name(name.lower())]


def parameter_causes(parameters: Mapping[str, str], path: str) -> list[Cause]:
    """At most 512 parameters, and 256 KiB of them."""
    if len(parameters) > _MAX_PARAMETERS:
        return [too_long(path, _MAX_PARAMETERS)]
    found = [invalid_value(path, key, "field can not be empty.") for key in parameters if not key]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items())
    return [*found, too_long(path, _MAX_PARAMETERS_BYTES)] if size > _MAX_PARAMETERS_BYTES else found


def access_mode_causes(modes: Sequence[str], path: str) -> list[Cause]:
    """Known modes, and ReadWriteOncePod only alone."""
    found = [not_supported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    if _ALONE in modes and any(mode in _MODES and mode != _ALONE for mode in modes):
        found.append(forbidden_field(path, f"may not use {_ALONE} with other access modes"))
    return found


def name_causes(name: str, path: str) -> list[Cause]:
    """The name of a class: that of an object."""
    return [invalid_value(path, name, text) for text in names.dns1123_subdomain(name)]


def secret_causes(reference: Mapping[str, Any], path: str) -> list[Cause]:
    """A secret by name and namespace."""
    name, namespace = reference.get("name") or "", reference.get("namespace") or ""
    found = name_causes(name, f"{path}.name") if name else [required(f"{path}.name")]
    if not namespace:
        return [*found, required(f"{path}.namespace")]
    return found + [invalid_value(f"{path}.namespace", namespace, text) for text in names.dns1123_label(namespace)]


def access_modes_text(modes: Iterable[str] | None) -> str:
    """RWO,ROX: each mode once, in a fixed order."""
    given = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def class_text(obj: Object) -> str:
    """The storage class of a volume or claim; the old annotation counts first."""
    annotations = obj["metadata"].get("annotations") or {}
    return annotations.get(CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""


def phase_text(obj: Object, now: float) -> str:
    """The phase, or Terminating."""
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase") or "")


def or_unset(value: Any) -> str:
    """A text, or <unset>."""
    return "<unset>" if value is None else str(value)
