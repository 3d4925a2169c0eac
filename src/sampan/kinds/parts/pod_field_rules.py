"""Which plain fields of a pod spec are refused: policies, names, DNS, gates, overhead, the operating system."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.kinds.parts import resource_rules
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

Spec = Mapping[str, Any]

_RESTART = ("Always", "Never", "OnFailure")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PREEMPTION = ("Never", "PreemptLowerPriority")
_SYSTEMS = ("linux", "windows")
_MAX_SECONDS = 2**31 - 1
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048
_MAX_HOSTNAME = 64
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_SEARCH = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH = rf"{_SEARCH}(\.{_SEARCH})*"
_SEARCH_TEXT = names.regex_error(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _SEARCH,
    "example.com",
)
_NAMES = (
    ("serviceAccountName", names.dns1123_subdomain),
    ("nodeName", names.dns1123_subdomain),
    ("hostname", names.dns1123_label),
    ("subdomain", names.dns1123_label),
    ("priorityClassName", names.dns1123_subdomain),
)


def causes(spec: Spec, path: str) -> list[Cause]:
    """All that is wrong with them."""
    found: list[Cause] = []
    if spec.get("terminationGracePeriodSeconds") is None:
        found.append(required(f"{path}.terminationGracePeriodSeconds"))
    if spec.get("restartPolicy") not in _RESTART:
        found.append(_choice(f"{path}.restartPolicy", spec.get("restartPolicy"), _RESTART))
    if spec.get("dnsPolicy") not in _DNS:
        found.append(_choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS))
    if spec.get("dnsConfig") is not None or spec.get("dnsPolicy") == "None":
        found += _dns_causes(spec.get("dnsConfig"), spec.get("dnsPolicy"), f"{path}.dnsConfig")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_SECONDS:
        text = f"must be between 1 and {_MAX_SECONDS}, inclusive"
        found.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, text))
    for field, check in _NAMES:
        value = spec.get(field)
        if value:
            found += [invalid_value(f"{path}.{field}", value, text) for text in check(value)]
    runtime = spec.get("runtimeClassName")
    if runtime is not None:
        found += [invalid_value(f"{path}.runtimeClassName", runtime, text) for text in names.dns1123_subdomain(runtime)]
    if spec.get("preemptionPolicy") not in (None, *_PREEMPTION):
        found.append(_choice(f"{path}.preemptionPolicy", spec["preemptionPolicy"], _PREEMPTION))
    for field, rule in _SELDOM.items():
        if spec.get(field):
            found += rule(spec[field], f"{path}.{field}")
    if spec.get("hostUsers") is False:
        found += _host_users_causes(spec, path)
    if spec.get("hostnameOverride"):
        found += _hostname_causes(spec, path)
    if spec.get("os") is not None:
        found += _system_causes(spec, path)
    return found


def claim_causes(claims: Sequence[Spec], path: str) -> list[Cause]:
    """Resource claims of a pod: named, each from an object or from a template."""
    found: list[Cause] = []
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        where = f"{path}[{index}]"
        name = claim.get("name") or ""
        if not name:
            found.append(required(f"{where}.name"))
        elif name in seen:
            found.append(duplicate(f"{where}.name", name))
        else:
            found += [invalid_value(f"{where}.name", name, text) for text in names.dns1123_label(name)]
        seen.add(name)
        given = [f for f in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(f) is not None]
        if len(given) > 1:
            text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            found.append(invalid_value(where, dict(claim), text))
        if not given:
            text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            found.append(invalid_value(where, dict(claim), text))
        for field in given:
            found += [invalid_value(f"{where}.{field}", claim[field], t) for t in names.dns1123_subdomain(claim[field])]
    return found


def _choice(path: str, value: Any, choices: Sequence[str]) -> Cause:
    return not_supported(path, value, choices) if value else required(path)


def _address_causes(address: str, path: str) -> list[Cause]:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return [invalid_value(path, address, _IP_TEXT)]
    return []


def _dns_causes(config: Spec | None, policy: str | None, path: str) -> list[Cause]:
    if policy == "None" and config is None:
        return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
    config = config or {}
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if policy == "None" and not servers:
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [required(f"{path}.nameservers", text)]
    found: list[Cause] = []
    if len(servers) > _MAX_NAMESERVERS:
        text = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        found.append(invalid_value(f"{path}.nameservers", list(servers), text))
    for index, server in enumerate(servers):
        found += _address_causes(server, f"{path}.nameservers[{index}]")
    if len(searches) > _MAX_SEARCHES:
        text = f"must not have more than {_MAX_SEARCHES} search paths"
        found.append(invalid_value(f"{path}.searches", list(searches), text))
    if len(" ".join(searches)) > _MAX_SEARCH_CHARACTERS:
        text = f"must not have more than {_MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        found.append(invalid_value(f"{path}.searches", list(searches), text))
    for index, search in enumerate(searches):
        if search != "." and re.fullmatch(_SEARCH, search.removesuffix(".")) is None:
            found.append(invalid_value(f"{path}.searches[{index}]", search.removesuffix("."), _SEARCH_TEXT))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(required(f"{path}.options[{index}]", "must not be empty"))
    return found


def _alias_causes(aliases: Sequence[Spec], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, alias in enumerate(aliases):
        found += _address_causes(alias.get("ip") or "", f"{path}[{index}].ip")
        for number, name in enumerate(alias.get("hostnames") or ()):
            where = f"{path}[{index}].hostnames[{number}]"
            found += [invalid_value(where, name, text) for text in names.dns1123_subdomain(name)]
    return found


def _readiness_causes(gates: Sequence[Spec], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, gate in enumerate(gates):
        kind = gate.get("conditionType") or ""
        found += [invalid_value(f"{path}[{index}].conditionType", kind, text) for text in names.qualified_name(kind)]
    return found


def _gate_causes(gates: Sequence[Spec], path: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name") or ""
        found += [invalid_value(f"{path}[{index}]", name, text) for text in names.qualified_name(name)]
        if name in seen:
            found.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
    return found


def _overhead_causes(overhead: Spec, path: str) -> list[Cause]:
    return resource_rules.container_causes({"limits": overhead}, path)


def _host_users_causes(spec: Spec, path: str) -> list[Cause]:
    shared = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    text = "when `pod.Spec.HostUsers` is false"
    return [forbidden_field(f"{path}.{shown}", text) for field, shown in shared if spec.get(field)]


def _hostname_causes(spec: Spec, path: str) -> list[Cause]:
    """A host name in full, of at most 64 characters, where nothing else decides about it."""
    where, name = f"{path}.hostnameOverride", spec["hostnameOverride"]
    found = [invalid_value(where, name, text) for text in names.dns1123_subdomain(name)]
    if len(name) > _MAX_HOSTNAME:
        found.append(invalid_value(where, name, f"must be no more than {_MAX_HOSTNAME} characters"))
    if spec.get("setHostnameAsFQDN"):
        found.append(forbidden_field(where, "may not be specified when `setHostnameAsFQDN` is true"))
    if spec.get("hostNetwork"):
        found.append(forbidden_field(where, "may not be specified when `hostNetwork` is true"))
    return found


def _system_causes(spec: Spec, path: str) -> list[Cause]:
    """A named operating system, and nothing of the other one's."""
    name = (spec["os"] or {}).get("name") or ""
    if name not in _SYSTEMS:
        return [_choice(f"{path}.os.name", name, _SYSTEMS)]
    holders = [(spec.get("securityContext") or {}, f"{path}.securityContext")]
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            where = f"{path}.{group}[{index}].securityContext"
            holders.append((container.get("securityContext") or {}, where))
    if name == "linux":
        text = "windows options cannot be set for a linux pod"
        return [forbidden_field(f"{where}.windowsOptions", text) for c, where in holders if c.get("windowsOptions")]
    text = "cannot be set for a windows pod"
    found = [
        forbidden_field(f"{where}.{field}", text)
        for context, where in holders
        for field in _LINUX
        if context.get(field) is not None
    ]
    shared = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
    return found + [forbidden_field(f"{path}.{field}", text) for field in shared if spec.get(field) is not None]


_LINUX = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
    "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy", "capabilities",
    "readOnlyRootFilesystem", "privileged", "allowPrivilegeEscalation", "procMount",
)  # fmt: skip
_SELDOM: dict[str, Callable[[Any, str], list[Cause]]] = {
    "hostAliases": _alias_causes,
    "readinessGates": _readiness_causes,
    "schedulingGates": _gate_causes,
    "overhead": _overhead_causes,
}
