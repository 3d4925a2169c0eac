"""Which containers are refused: image, ports, resources, restarts; the rest by files of its own.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.kinds.parts import env_rules, mount_rules, probe_rules, resource_rules, security_rules
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, invalid_value, not_supported, required, too_long

Container = Mapping[str, Any]

_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGES = ("FallbackToLogsOnError", "File")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RESTARTS = ("Always", "Never", "OnFailure")
_ACTIONS = ("Restart", "RestartAllContainers")
_OPERATORS = ("In", "NotIn")
_RESIZES = ("NotRequired", "RestartContainer")
_MAX_RULES = 20
_MAX_CODES = 255


@dataclass(frozen=True, slots=True)
class Around:
    """What of its pod a container is judged by: volumes by name, names of resource claims, policies, the grace.

    `created` is a pod itself; else a template.
    """

    volumes: Mapping[str, Any] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()
    restart_policy: str = ""
    host_network: bool = False
    host_users: bool = True
    grace_seconds: int | None = None
    created: bool = True


def causes(container: Container, path: str, around: Around) -> list[Cause]:
    """All that is wrong with one container of any sort but its name and its probes."""
    found: list[Cause] = []
    image = container.get("image")
    if not image:
        found.append(required(f"{path}.image"))
    elif around.created and image != image.strip():
        found.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in _PULL:
        found.append(not_supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy") or "", _PULL))
    if container.get("terminationMessagePolicy") not in _MESSAGES:
        policy = container.get("terminationMessagePolicy") or ""
        found.append(not_supported(f"{path}.terminationMessagePolicy", policy, _MESSAGES))
    if container.get("ports"):
        found += _port_causes(container["ports"], f"{path}.ports", around)
    if container.get("env"):
        found += env_rules.causes(container["env"], f"{path}.env")
    if container.get("envFrom"):
        found += env_rules.from_causes(container["envFrom"], f"{path}.envFrom")
    found += mount_rules.causes(container, path, around.volumes)
    if container.get("resources"):
        found += resource_rules.container_causes(container["resources"], f"{path}.resources", around.claims)
    if container.get("resizePolicy"):
        found += _resize_causes(container["resizePolicy"], f"{path}.resizePolicy", around.restart_policy)
    if container.get("securityContext"):
        context, where = container["securityContext"], f"{path}.securityContext"
        found += security_rules.container_causes(context, where, host_users=around.host_users)
    return found


def work_causes(container: Container, path: str, around: Around) -> list[Cause]:
    """What is wrong with the probes and hooks of a container that goes on running."""
    found: list[Cause] = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is not None:
            found += probe_rules.causes(probe, f"{path}.{name}", once=name != "readinessProbe")
    if container.get("lifecycle"):
        found += probe_rules.lifecycle_causes(container["lifecycle"], f"{path}.lifecycle", around.grace_seconds)
    return found


def restart_causes(container: Container, path: str) -> list[Cause]:
    """What is wrong with a container's own restart policy and its rules."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    found: list[Cause] = []
    if policy is not None and policy not in _RESTARTS:
        found.append(not_supported(f"{path}.restartPolicy", policy, _RESTARTS))
    if not rules:
        return found
    if policy is None:
        text = "must specify restartPolicy when restart rules are used"
        found.append(required(f"{path}.restartPolicy", text))
    if len(rules) > _MAX_RULES:
        return [*found, too_long(f"{path}.restartPolicyRules", _MAX_RULES)]
    for index, rule in enumerate(rules):
        found += _rule_causes(rule, f"{path}.restartPolicyRules[{index}]")
    return found


def host_port_causes(ports: Sequence[Mapping[str, Any]], path: str, seen: set[tuple[Any, ...]]) -> list[Cause]:
    """A host port is taken once a pod."""
    found = []
    for index, port in enumerate(ports):
        if port.get("hostPort"):
            key = (port.get("protocol"), port.get("hostIP") or "", port["hostPort"])
            if key in seen:
                found.append(duplicate(f"{path}[{index}].hostPort", f"{key[0]}/{key[1]}/{key[2]}"))
            seen.add(key)
    return found


def _port_causes(ports: Sequence[Mapping[str, Any]], path: str, around: Around) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        name = port.get("name")
        if name:
            errors = names.port_name(name)
            found += [invalid_value(f"{where}.name", name, text) for text in errors]
            if not errors and name in seen:
                found.append(duplicate(f"{where}.name", name))
            seen.add(name)
        number = port.get("containerPort")
        if not number:
            found.append(required(f"{where}.containerPort"))
        else:
            found += [invalid_value(f"{where}.containerPort", number, text) for text in names.port_number(number)]
        host = port.get("hostPort") or 0
        if host:
            found += [invalid_value(f"{where}.hostPort", host, text) for text in names.port_number(host)]
        if around.host_network and (host or around.created) and host != number:
            text = "must match `containerPort` when `hostNetwork` is true"
            found.append(invalid_value(f"{where}.hostPort", host, text))
        if port.get("protocol") not in _PROTOCOLS:
            found.append(not_supported(f"{where}.protocol", port.get("protocol") or "", _PROTOCOLS))
    return found


def _resize_causes(policies: Sequence[Mapping[str, Any]], path: str, restart_policy: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        name, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if name in seen:
            found.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
        for value, choices in ((name, resource_rules.POD_RESOURCES), (restart, _RESIZES)):
            if not value:
                found.append(required(path))
            elif value not in choices:
                found.append(not_supported(path, value, choices))
        if restart_policy == "Never" and restart != "NotRequired":
            text = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            found.append(invalid_value(path, restart, text))
    return found


def _rule_causes(rule: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    if rule.get("action") not in _ACTIONS:
        found.append(not_supported(f"{path}.action", rule.get("action") or "", _ACTIONS))
    codes = rule.get("exitCodes")
    if codes is None:
        return [*found, required(f"{path}.exitCodes", "must be specified")]
    if codes.get("operator") not in _OPERATORS:
        found.append(not_supported(f"{path}.exitCodes.operator", codes.get("operator") or "", _OPERATORS))
    if len(codes.get("values") or ()) > _MAX_CODES:
        found.append(too_long(f"{path}.exitCodes.values", _MAX_CODES))
    return found
