"""Which pod specs are refused, with the reference server's words; on the hot path of every pod.

Containers, volumes, security and scalars have their own files; here is what spans them.
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import (
    container_rules,
    ephemeral_rules,
    placement_rules,
    pod_field_rules,
    resource_rules,
    security_rules,
    volume_rules,
    windows_rules,
)
from sampan.kinds.parts.container_rules import Around
from sampan.meta import names, objects
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, required

Spec = Mapping[str, Any]

_INIT_FIELDS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
_INIT_TEXT = "may not be set for init containers without restartPolicy=Always"


def pod_causes(pod: Object) -> list[Cause]:
    """All that is wrong with a new pod's spec."""
    spec = pod.get("spec") or {}
    found = spec_causes(spec, "spec", pod=pod)
    if spec.get("ephemeralContainers"):
        found.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        text = "cannot be set until all schedulingGates have been cleared"
        found.append(forbidden_field("spec.nodeName", text))
    return found


def spec_causes(spec: Spec, path: str, *, created: bool = True, pod: Object | None = None) -> list[Cause]:
    """All that is wrong with a pod spec. `created` is a pod's own, of `pod` when it is known; else a template's."""
    found: list[Cause] = []
    volumes: dict[str, Any] = {}
    if spec.get("volumes"):
        name = objects.name(pod) if pod else ""
        found += volume_rules.causes(spec["volumes"], f"{path}.volumes", volumes, name)
    if spec.get("resourceClaims"):
        found += pod_field_rules.claim_causes(spec["resourceClaims"], f"{path}.resourceClaims")
    around = _around(spec, volumes, created=created)
    found += _containers_causes(spec, path, around)
    if spec.get("initContainers"):
        found += _inits_causes(spec, path, around)
    if spec.get("ephemeralContainers"):
        found += ephemeral_rules.causes(spec, f"{path}.ephemeralContainers", around)
        if not created:
            text = "ephemeral containers not allowed in pod template"
            found.append(forbidden_field(f"{path}.ephemeralContainers", text))
    if spec.get("resources"):
        found += resource_rules.pod_causes(spec, f"{path}.resources")
    found += pod_field_rules.causes(spec, path)
    if spec.get("tolerations") or spec.get("affinity") or spec.get("topologySpreadConstraints"):
        found += placement_rules.causes(spec, path)
    if spec.get("nodeSelector"):
        found += placement_rules.node_selector_causes(spec["nodeSelector"], f"{path}.nodeSelector")
    return found + security_rules.pod_causes(spec, path) + windows_rules.host_process_causes(spec, path)


def _around(spec: Spec, volumes: Mapping[str, Any], *, created: bool) -> Around:
    return Around(
        volumes,
        frozenset(claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")),
        spec.get("restartPolicy") or "",
        host_network=bool(spec.get("hostNetwork")),
        host_users=spec.get("hostUsers") is not False,
        grace_seconds=spec.get("terminationGracePeriodSeconds"),
        created=created,
    )


def _containers_causes(spec: Spec, path: str, around: Around) -> list[Cause]:
    found: list[Cause] = []
    containers = spec.get("containers")
    if not containers:
        return [required(f"{path}.containers")]
    seen: set[str] = set()
    host_ports: set[tuple[Any, ...]] = set()
    for index, container in enumerate(containers):
        where = f"{path}.containers[{index}]"
        found += name_causes(container, where)
        found += container_rules.causes(container, where, around)
        found += _doubled_causes(container, where, seen)
        found += container_rules.work_causes(container, where, around)
        if container.get("ports"):
            found += container_rules.host_port_causes(container["ports"], f"{where}.ports", host_ports)
        if container.get("restartPolicy") is not None or container.get("restartPolicyRules"):
            found += container_rules.restart_causes(container, where)
    return found


def _inits_causes(spec: Spec, path: str, around: Around) -> list[Cause]:
    found: list[Cause] = []
    seen = {container.get("name") or "" for container in spec.get("containers") or ()}
    for index, container in enumerate(spec["initContainers"]):
        where = f"{path}.initContainers[{index}]"
        found += name_causes(container, where)
        found += container_rules.causes(container, where, around)
        found += container_rules.restart_causes(container, where)
        found += _doubled_causes(container, where, seen)
        if container.get("ports"):
            found += container_rules.host_port_causes(container["ports"], f"{where}.ports", set())
        if container.get("restartPolicy") == "Always":
            found += container_rules.work_causes(container, where, around)
        else:
            given = [name for name in _INIT_FIELDS if container.get(name) is not None]
            found += [forbidden_field(f"{where}.{name}", _INIT_TEXT) for name in given]
    return found


def name_causes(container: Mapping[str, Any], path: str) -> list[Cause]:
    """A container has a name of the right form."""
    name = container.get("name") or ""
    if not name:
        return [required(f"{path}.name")]
    return [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]


def _doubled_causes(container: Mapping[str, Any], path: str, seen: set[str]) -> list[Cause]:
    name = container.get("name") or ""
    if name in seen:
        return [duplicate(f"{path}.name", name)]
    if name:
        seen.add(name)
    return []
