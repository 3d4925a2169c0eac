"""How a container's spec has it confined: seccomp and AppArmor profiles, mounts that are read-only with all below.

https://kubernetes.io/docs/concepts/security/linux-kernel-security-constraints/
"""

import os.path
from typing import Any, Literal

from sampan.node.env import ConfigError
from sampan.node.runtime.protocol import APPARMOR_DEFAULT, Features

Object = dict[str, Any]

_NO_APPARMOR = "Cannot enforce AppArmor: AppArmor is not enabled on the host"


def seccomp(context: Object, folder: str) -> tuple[Literal["Unconfined", "RuntimeDefault", "Localhost"], str]:
    """The profile's type and, of one in a file below the node's folder, its path. Raises ConfigError."""
    profile = context.get("seccompProfile") or {}
    if context.get("privileged"):
        return "Unconfined", ""
    match profile.get("type"):
        case "RuntimeDefault":
            return "RuntimeDefault", ""
        case "Localhost":
            name = profile.get("localhostProfile") or ""
            if not name:
                raise ConfigError("localhostProfile must be set if seccompProfile type is Localhost.")
            if name.startswith("/") or ".." in name.split("/"):
                raise ConfigError(f'the seccomp profile "{name}" is not below {folder}')
            return "Localhost", os.path.join(folder, name)
    return "Unconfined", ""


def apparmor(context: Object, features: Features) -> str:
    """The name of the profile that the kernel is to apply; empty where none is named. Raises ConfigError."""
    profile = context.get("appArmorProfile") or {}
    kind = profile.get("type") or "Unconfined"
    if kind == "Unconfined":
        return "unconfined" if profile and features.apparmor else ""
    if not features.apparmor:
        raise ConfigError(_NO_APPARMOR)
    if kind == "RuntimeDefault":
        return APPARMOR_DEFAULT
    if kind != "Localhost":
        raise ConfigError(f"unknown AppArmor profile type {kind}")
    return str(profile.get("localhostProfile") or "")


def refusal(pod: Object, features: Features) -> tuple[str, str] | None:
    """Why the node turns the pod away, reason and message, if it asks for profiles that the kernel has not got."""
    spec = pod.get("spec") or {}
    containers = [each for name in ("initContainers", "containers") for each in spec.get(name) or ()]
    contexts = [part.get("securityContext") or {} for part in (spec, *containers)]
    if features.apparmor or all(_type(context) == "Unconfined" for context in contexts):
        return None
    return "AppArmor", _NO_APPARMOR


def _type(context: Object) -> str:
    return (context.get("appArmorProfile") or {}).get("type") or "Unconfined"


def is_recursive(mount: Object, features: Features) -> bool:
    """Whether all below a mount is read-only too. Raises ConfigError where that was asked for and can't be."""
    wanted = mount.get("recursiveReadOnly") or "Disabled"
    if wanted == "Enabled" and not features.recursive_read_only:
        text = f'volume "{mount["name"]}" requested recursive read-only mode, but it is not supported by the runtime'
        raise ConfigError(f"failed to resolve recursive read-only mode: {text}")
    return wanted != "Disabled" and bool(mount.get("readOnly")) and features.recursive_read_only
