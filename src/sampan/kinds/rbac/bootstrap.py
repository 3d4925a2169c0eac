"""The default roles and bindings: what every cluster allows from its first second.

The user-facing roles admin, edit and view are aggregated; their rules are given here in full as well, since
they must hold before, or without, a controller that aggregates.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import rbac_words
from sampan.kinds.rbac import controller_rules
from sampan.kinds.rbac import default_rules as rules
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.kinds.rbac.cluster_role_binding import CLUSTERROLEBINDING
from sampan.kinds.rbac.role import ROLE
from sampan.kinds.rbac.role_binding import ROLEBINDING

_API = "rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

_METRICS = "system:aggregated-metrics-reader"
"""That of metrics-server, whose API a cluster serves itself."""

_AGGREGATED = {
    "view": ("system:aggregate-to-view", _METRICS),
    "edit": ("system:aggregate-to-edit", _METRICS, "view"),
    "admin": ("edit", "system:aggregate-to-admin", _METRICS),
}
"""What each selects, in the order in which it is aggregated."""

_CHAIN = {"admin": "", "edit": "admin", "view": "edit"}


def objects() -> Iterator[tuple[Kind, Object]]:
    """Every default object with its kind, roles before the bindings that name them."""
    for name, given in rules.CLUSTER_ROLES.items():
        yield CLUSTERROLE, _role("ClusterRole", name, given, labels=_labels(name))
    for name in _AGGREGATED:
        yield CLUSTERROLE, _aggregated(name)
    for controller, given in controller_rules.CONTROLLERS.items():
        yield CLUSTERROLE, _role("ClusterRole", f"system:controller:{controller}", given)
    for namespace, name, given in rules.ROLES:
        yield ROLE, _role("Role", name, given, namespace=namespace)
    for name, role, subjects in rules.CLUSTER_BINDINGS:
        yield CLUSTERROLEBINDING, _binding("ClusterRoleBinding", name, ("ClusterRole", role), subjects)
    for controller in controller_rules.CONTROLLERS:
        name = f"system:controller:{controller}"
        account = rbac_words.service_account("kube-system", controller)
        yield CLUSTERROLEBINDING, _binding("ClusterRoleBinding", name, ("ClusterRole", name), (account,))
    for namespace, name, role, subjects in rules.BINDINGS:
        yield ROLEBINDING, _binding("RoleBinding", name, ("Role", role), subjects, namespace=namespace)


def _labels(name: str) -> dict[str, str]:
    if name == _METRICS:
        return {"k8s-app": "metrics-server", **{f"{_AGGREGATE}{role}": "true" for role in _AGGREGATED}}
    prefix = "system:aggregate-to-"
    return {f"{_AGGREGATE}{name.removeprefix(prefix)}": "true"} if name.startswith(prefix) else {}


def _meta(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Object:
    meta: Object = {
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
    }
    if namespace:
        meta["namespace"] = namespace
    return meta


def _role(
    kind: str, name: str, given: Sequence[Object], *, namespace: str = "", labels: dict[str, str] | None = None
) -> Object:
    return {"apiVersion": _API, "kind": kind, "metadata": _meta(name, namespace, labels), "rules": list(given)}


def _aggregated(name: str) -> Object:
    labels = {f"{_AGGREGATE}{_CHAIN[name]}": "true"} if _CHAIN[name] else {}
    made = _role("ClusterRole", name, _union(name), labels=labels)
    made["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{name}": "true"}}]}
    return made


def _union(name: str) -> list[Object]:
    """The rules of a role, or all those that it aggregates."""
    if name not in _AGGREGATED:
        return list(rules.CLUSTER_ROLES[name])
    found: list[Object] = []
    for part in _AGGREGATED[name]:
        found += [rule for rule in _union(part) if rule not in found]
    return found


def _binding(kind: str, name: str, role: tuple[str, str], subjects: Sequence[Any], *, namespace: str = "") -> Object:
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": _meta(name, namespace),
        "roleRef": {"apiGroup": _GROUP, "kind": role[0], "name": role[1]},
        **({"subjects": list(subjects)} if subjects else {}),
    }
