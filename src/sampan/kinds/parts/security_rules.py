"""Which security contexts are refused, of a pod and of its containers.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

import re
from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import path_rules, windows_rules
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required, too_long

Context = Mapping[str, Any]

_MAX_ID = 2**31 - 1
_PROC_MOUNTS = ("Default", "Unmasked")
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_MAX_PROFILE = 4095
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_MAX_SYSCTL = 253
_NET = ("net.",)
_IPC = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_CHOICES = {
    "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "supplementalGroupsPolicy": ("Merge", "Strict"),
    "seLinuxChangePolicy": ("MountOption", "Recursive"),
}


def pod_causes(spec: Mapping[str, Any], path: str) -> list[Cause]:
    """All that is wrong with a pod spec's own security context, at `path`.securityContext."""
    context = spec.get("securityContext") or {}
    if not context and not spec.get("shareProcessNamespace"):
        return []
    where = f"{path}.securityContext"
    found = _id_causes(context, where, "fsGroup", "runAsUser", "runAsGroup")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        found += _range_causes(group, f"{where}.supplementalGroups[{index}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(invalid_value(f"{where}.shareProcessNamespace", spec["shareProcessNamespace"], text))
    found += _sysctl_causes(context.get("sysctls") or (), f"{where}.sysctls", spec)
    for field, choices in _CHOICES.items():
        if context.get(field) is not None and context[field] not in choices:
            found.append(not_supported(f"{where}.{field}", context[field], choices))
    found += _seccomp_causes(context.get("seccompProfile"), f"{where}.seccompProfile")
    found += windows_rules.causes(context.get("windowsOptions"), f"{where}.windowsOptions")
    return found + _apparmor_causes(context.get("appArmorProfile"), f"{where}.appArmorProfile")


def container_causes(context: Context, path: str, *, host_users: bool) -> list[Cause]:
    """All that is wrong with a container's. `host_users`: the pod has the host's users."""
    found = _id_causes(context, path, "runAsUser", "runAsGroup")
    mount = context.get("procMount")
    if mount is not None:
        if mount not in _PROC_MOUNTS:
            found.append(not_supported(f"{path}.procMount", mount, _PROC_MOUNTS))
        if mount == "Unmasked" and host_users:
            found.append(invalid_value(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    found += _seccomp_causes(context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(invalid_value(path, dict(context), text))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            found.append(invalid_value(path, dict(context), text))
    found += windows_rules.causes(context.get("windowsOptions"), f"{path}.windowsOptions")
    return found + _apparmor_causes(context.get("appArmorProfile"), f"{path}.appArmorProfile")


def _id_causes(context: Context, path: str, *fields: str) -> list[Cause]:
    return [c for f in fields if context.get(f) is not None for c in _range_causes(context[f], f"{path}.{f}")]


def _range_causes(value: int, path: str) -> list[Cause]:
    ok = 0 <= value <= _MAX_ID
    return [] if ok else [invalid_value(path, value, f"must be between 0 and {_MAX_ID}, inclusive")]


def _seccomp_causes(profile: Context | None, path: str) -> list[Cause]:
    if profile is None:
        return []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    found: list[Cause] = []
    if not kind:
        found.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        found.append(not_supported(f"{path}.type", kind, _PROFILES))
    where = f"{path}.localhostProfile"
    if kind != "Localhost" and local is not None:
        found.append(invalid_value(where, dict(profile), "can only be set when seccomp type is Localhost"))
    elif kind == "Localhost":
        text = "must be set when seccomp type is Localhost"
        found += [required(where, text)] if local is None else path_rules.inner_causes(local, where)
    return found


def _apparmor_causes(profile: Context | None, path: str) -> list[Cause]:
    if profile is None:
        return []
    kind, local, where = profile.get("type") or "", profile.get("localhostProfile"), f"{path}.localhostProfile"
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in _PROFILES:
        return [not_supported(f"{path}.type", kind, _PROFILES)]
    if kind != "Localhost":
        text = "can only be set when AppArmor type is Localhost"
        return [invalid_value(where, local, text)] if local is not None else []
    if local is None or not local:
        return [required(where, "must be set when AppArmor type is Localhost")]
    found = [] if local == local.strip() else [invalid_value(where, local, "must not be padded with whitespace")]
    return [*found, too_long(where, _MAX_PROFILE)] if len(local) > _MAX_PROFILE else found


def _sysctl_causes(sysctls: Any, path: str, spec: Mapping[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, where = sysctl.get("name") or "", f"{path}[{index}].name"
        if not name:
            found.append(required(where))
        elif len(name) > _MAX_SYSCTL or re.fullmatch(_SYSCTL, name) is None:
            text = f"must have at most {_MAX_SYSCTL} characters and match regex ^{_SYSCTL}$"
            found.append(invalid_value(where, name, text))
        elif name in seen:
            found.append(duplicate(where, name))
        dotted = name.replace("/", ".")
        for shared, prefixes in (("hostNetwork", _NET), ("hostIPC", _IPC)):
            if spec.get(shared) and dotted.startswith(prefixes):
                text = f"may not be specified when '{shared}' is true"
                found.append(invalid_value(where, name, text))
        seen.add(name)
    return found
