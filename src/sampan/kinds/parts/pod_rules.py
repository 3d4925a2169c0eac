"""Which pod specs are refused, with the reference server's words; on the hot path of every pod.

Containers, probes and volumes have their own files; here is what spans them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import container_rules, not_yet, placement_rules, volume_rules
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

Spec = Mapping[str, Any]

_RESTART = ("Always", "Never", "OnFailure")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_NOT_NEGATIVE = "must be greater than or equal to 0"
_MAX_SECONDS = 2**31 - 1


def pod_causes(pod: Object) -> list[Cause]:
    """All that is wrong with a new pod's spec."""
    return spec_causes(pod.get("spec") or {}, "spec", created=True)


def spec_causes(spec: Spec, path: str, *, created: bool) -> list[Cause]:
    """All that is wrong with a pod spec. `created` is a pod; else a template."""
    found: list[Cause] = []
    volumes: dict[str, Any] = {}
    if spec.get("volumes"):
        found += volume_rules.causes(spec["volumes"], f"{path}.volumes", volumes)
    found += _containers_causes(spec, path, volumes)
    found += _scalar_causes(spec, path)
    if spec.get("tolerations") or spec.get("affinity") or spec.get("topologySpreadConstraints"):
        found += placement_rules.causes(spec, path)
    if spec.get("nodeSelector"):
        found += placement_rules.node_selector_causes(spec["nodeSelector"], f"{path}.nodeSelector")
    if spec.get("ephemeralContainers"):
        text = "cannot be set on create" if created else "ephemeral containers not allowed in pod template"
        found.append(forbidden_field(f"{path}.ephemeralContainers", text))
    found += not_yet.pod_causes(spec, path)
    if created and spec.get("nodeName") and spec.get("schedulingGates"):
        text = "cannot be set until all schedulingGates have been cleared"
        found.append(forbidden_field(f"{path}.nodeName", text))
    return found


def warnings(spec: Spec, path: str) -> list[str]:
    """Likely mistakes: doubled environment variables and ports, deprecated fields."""
    found = []
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            found += container_rules.warnings(container, f"{path}.{group}[{index}]")
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        found.append(
            f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    return found


def template_warnings(new: Object, old: Object | None) -> list[str]:
    """The warnings of spec.template, when it is new."""
    template = (new.get("spec") or {}).get("template") or {}
    if old is not None and template == (old.get("spec") or {}).get("template"):
        return []
    return warnings(template.get("spec") or {}, "spec.template.spec")


def _containers_causes(spec: Spec, path: str, volumes: Mapping[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    containers = spec.get("containers")
    if not containers:
        found.append(required(f"{path}.containers"))
    seen: set[str] = set()
    host_ports: set[tuple[Any, ...]] = set()
    host_network = bool(spec.get("hostNetwork"))
    inits = spec.get("initContainers")
    for index, container in enumerate(containers or ()):
        where = f"{path}.containers[{index}]"
        found += container_rules.causes(container, where, volumes, host_network=host_network)
        found += _name_causes(container, where, seen)
        if container.get("ports"):
            found += container_rules.host_port_causes(container["ports"], f"{where}.ports", host_ports)
        if container.get("restartPolicy") is not None and not isinstance(container["restartPolicy"], str):
            found.append(not_supported(f"{where}.restartPolicy", container["restartPolicy"], _RESTART))
    for index, container in enumerate(inits or ()):
        where = f"{path}.initContainers[{index}]"
        found += container_rules.causes(container, where, volumes, host_network=host_network)
        found += _name_causes(container, where, seen)
        found += _init_causes(container, where)
    return found


def _name_causes(container: Mapping[str, Any], path: str, seen: set[str]) -> list[Cause]:
    name = container.get("name") or ""
    if not name:
        return [required(f"{path}.name")]
    found = [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]
    if name in seen:
        found.append(duplicate(f"{path}.name", name))
    seen.add(name)
    return found


def _init_causes(container: Mapping[str, Any], path: str) -> list[Cause]:
    policy = container.get("restartPolicy")
    if policy == "Always":
        return []
    found = []
    if policy is not None and policy not in _RESTART:
        found.append(not_supported(f"{path}.restartPolicy", policy, _RESTART))
    text = "may not be set for init containers without restartPolicy=Always"
    fields = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
    return found + [forbidden_field(f"{path}.{field}", text) for field in fields if container.get(field) is not None]


def _scalar_causes(spec: Spec, path: str) -> list[Cause]:
    found: list[Cause] = []
    if spec.get("restartPolicy") not in _RESTART:
        found.append(_choice(f"{path}.restartPolicy", spec.get("restartPolicy"), _RESTART))
    if spec.get("dnsPolicy") not in _DNS:
        found.append(_choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS))
    elif spec["dnsPolicy"] == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(required(f"{path}.dnsConfig.nameservers", text))
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        found.append(required(f"{path}.terminationGracePeriodSeconds"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_SECONDS:
        text = f"must be between 1 and {_MAX_SECONDS}, inclusive"
        found.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, text))
    for field, check in _NAMES:
        value = spec.get(field)
        if value:
            errors = check(value)
            if errors:
                found += [invalid_value(f"{path}.{field}", value, text) for text in errors]
    if not spec.get("schedulerName"):
        found.append(required(f"{path}.schedulerName"))
    if spec.get("imagePullSecrets"):
        for index, reference in enumerate(spec["imagePullSecrets"]):
            if not reference.get("name"):
                found.append(required(f"{path}.imagePullSecrets[{index}].name"))
    if spec.get("securityContext"):
        found += _security_causes(spec, f"{path}.securityContext")
    return found


_NAMES = (
    ("nodeName", names.dns1123_subdomain),
    ("serviceAccountName", names.dns1123_subdomain),
    ("hostname", names.dns1123_label),
    ("subdomain", names.dns1123_label),
    ("schedulerName", names.qualified_name),
    ("runtimeClassName", names.dns1123_subdomain),
    ("priorityClassName", names.dns1123_subdomain),
)


def _choice(path: str, value: Any, choices: Sequence[str]) -> Cause:
    return not_supported(path, value, choices) if value else required(path)


def _security_causes(spec: Spec, path: str) -> list[Cause]:
    context = spec["securityContext"]
    found = []
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        value = context.get(field)
        if value is not None and not 0 <= value <= _MAX_SECONDS:
            found.append(invalid_value(f"{path}.{field}", value, f"must be between 0 and {_MAX_SECONDS}, inclusive"))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(invalid_value(f"{path}.shareProcessNamespace", spec["shareProcessNamespace"], text))
    return found
