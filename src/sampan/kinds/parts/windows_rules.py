"""Which options for Windows are refused: names of users and credentials, and processes of the host.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-runasusername/
https://kubernetes.io/docs/tasks/configure-pod-container/create-hostprocess-pod/
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sampan.meta import names
from sampan.meta.status import Cause, invalid_value

Options = Mapping[str, Any]

_MAX_SPEC_KIB = 64
_MAX_DOMAIN, _MAX_USER = 256, 104
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NET_BIOS = re.compile(r"[^\\/:*?\"<>|.][^\\/:*?\"<>|]{0,14}")
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_BAD = '"/\\:;|=,+*?<>@[]'
_ONE_FOR_ALL = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
_NEEDS_NETWORK = "hostNetwork must be true if pod contains any hostProcess containers"


def causes(options: Options | None, path: str) -> list[Cause]:
    """All that is wrong with the windowsOptions of a pod or a container, at `path`."""
    if options is None:
        return []
    found: list[Cause] = []
    name, spec, user = (options.get(f) for f in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        found += [invalid_value(f"{path}.gmsaCredentialSpecName", name, t) for t in names.dns1123_subdomain(name)]
    if spec is not None and not spec:
        found.append(invalid_value(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string"))
    elif spec and len(spec.encode()) > _MAX_SPEC_KIB * 1024:
        text = f"gmsaCredentialSpec size must be under {_MAX_SPEC_KIB} KiB"
        found.append(invalid_value(f"{path}.gmsaCredentialSpec", spec, text))
    if user is not None:
        found += [invalid_value(f"{path}.runAsUserName", user, f"runAsUserName{t}") for t in _user_errors(user)]
    return found


def _user_errors(name: str) -> list[str]:
    """What is wrong with a user, or a domain and a user, to be read behind the field's name."""
    if not name:
        return [" cannot be an empty string"]
    if _CONTROL.search(name):
        return [" cannot contain control characters"]
    if name.count("\\") > 1:
        return [" cannot contain more than one backslash"]
    domain, divider, user = name.rpartition("\\")
    found = []
    if len(domain.encode()) >= _MAX_DOMAIN:
        found.append(f"'s Domain length must be under {_MAX_DOMAIN} characters")
    if divider and not (_NET_BIOS.fullmatch(domain) or _DNS.fullmatch(domain)):
        found.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        found.append("'s User cannot be empty")
    elif len(user.encode()) > _MAX_USER:
        found.append(f"'s User length must not be longer than {_MAX_USER} characters")
    if user and not user.strip(". "):
        found.append("'s User cannot contain only periods or spaces")
    if any(character in _BAD for character in user):
        found.append("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return found


def host_process_causes(spec: Mapping[str, Any], path: str) -> list[Cause]:
    """Processes of the host: all of a pod's containers, or none; and those in the host's network."""
    whole = _is_host_process(spec)
    found: list[Cause] = []
    wishes: list[bool] = []
    for container, where in _containers(spec, path):
        own = _is_host_process(container)
        if whole is not None and own is not None and whole != own:
            text = f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
            found.append(invalid_value(f"{where}.securityContext.windowsOptions.hostProcess", own, text))
        wishes.append(bool(whole if own is None else own))
    if not any(wishes):
        return found
    if not all(wishes):
        found.append(invalid_value(path, "", _ONE_FOR_ALL))
    if not spec.get("hostNetwork"):
        found.append(invalid_value(f"{path}.hostNetwork", False, _NEEDS_NETWORK))
    return found


def _is_host_process(holder: Mapping[str, Any]) -> bool | None:
    options = (holder.get("securityContext") or {}).get("windowsOptions") or {}
    wish: bool | None = options.get("hostProcess")
    return wish


def _containers(spec: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield container, f"{path}.{group}[{index}]"
