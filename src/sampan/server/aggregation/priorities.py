"""Where a group stands among the others, and a version in its group, as the reference server has them.

Clients that must choose between groups or versions take the first.
"""

from collections.abc import Sequence
from typing import Any

from sampan.meta import objects
from sampan.server import discovery

Tree = dict[str, Any]

FIRST = "apiregistration.k8s.io"
CUSTOM = (1000, 100)
_FIRST_PRIORITY = 20001
_GROUPS = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100, "metrics.k8s.io": 100,
}  # fmt: skip
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21,
             ("resource.k8s.io", "v1"): 20, ("metrics.k8s.io", "v1beta1"): 100}  # fmt: skip
_USUAL_VERSION = 15


def of(group: str, version: str) -> tuple[int, int]:
    """(groupPriorityMinimum, versionPriority) of what is served here; custom resources come last."""
    if group == FIRST:
        return _FIRST_PRIORITY, _USUAL_VERSION
    if group not in _GROUPS:
        return CUSTOM
    return _GROUPS[group], _VERSIONS.get((group, version), _USUAL_VERSION)


def group_order(name: str, services: Sequence[Tree], *, local: bool) -> tuple[int, str]:
    """Sorts groups: the highest priority first, then by name. `services` are the group's remote APIServices."""
    told = [service["spec"].get("groupPriorityMinimum", 0) for service in services]
    return (-max([*told, of(name, "")[0] if local else 0]), name)


def version_order(group: str, version: str, service: Tree | None) -> tuple[int, tuple[int, int, int, str]]:
    """Sorts the versions of a group: the highest priority first, then the most stable and newest."""
    priority = service["spec"].get("versionPriority", 0) if service else of(group, version)[1]
    return (-priority, discovery.version_rank(version))


def service_key(service: Tree) -> tuple[str, str]:
    """(group, version) of an APIService."""
    found = service.get("spec") or {}
    return found.get("group") or "", found.get("version") or objects.name(service).partition(".")[0]
