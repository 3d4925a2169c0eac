"""How a container's spec has it confined: seccomp and AppArmor profiles, mounts that are read-only with all below.

https://kubernetes.io/docs/concepts/security/linux-kernel-security-constraints/
"""

import os.path
from typing import Any, Literal

from sampan.node.env import ConfigError
from sampan.node.runtime.protocol import Features

Object = dict[str, Any]


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
    """The name of the profile that the kernel is to apply; empty for none. Raises ConfigError."""
    profile = context.get("appArmorProfile") or {}
    kind = profile.get("type") or "Unconfined"
    if kind == "Unconfined":
        return "unconfined" if profile and features.apparmor else ""
    if not features.apparmor:
        raise ConfigError("Cannot enforce AppArmor: AppArmor is not enabled on the host")
    if kind != "Localhost":
        raise ConfigError(f"AppArmor profiles of type {kind} are not supported yet")
    return str(profile.get("localhostProfile") or "")


def is_recursive(mount: Object, features: Features) -> bool:
    """Whether all below a mount is read-only too. Raises ConfigError where that was asked for and can't be."""
    wanted = mount.get("recursiveReadOnly") or "Disabled"
    if wanted == "Enabled" and not features.recursive_read_only:
        text = f'volume "{mount["name"]}" requested recursive read-only mode, but it is not supported by the runtime'
        raise ConfigError(f"failed to resolve recursive read-only mode: {text}")
    return wanted != "Disabled" and bool(mount.get("readOnly")) and features.recursive_read_only
