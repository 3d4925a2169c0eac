"""Nodes: what a node agent may do: its own Node, the pods bound to it, and what those pods refer to.

A user system:node:NAME in the group system:nodes. `Pods` answers whether a pod bound to the node refers
to an object; everything else is decided from the request alone. Reads are limited here: a node sees
only its own Node and its own pods. Which Node, pod or lease a write may change is up to admission
(admission/node_restriction.py), which knows the content.

https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from collections.abc import Callable
from dataclasses import dataclass

from sampan.meta import selectors
from sampan.server.authz.decision import DENIED, Attributes, Decision
from sampan.server.identity import User

GROUP = "system:nodes"
PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"

_ALLOWED = Decision(allowed=True)
_READ = frozenset(("get", "list", "watch"))
_CHANGE = frozenset(("get", "update", "patch"))

# (group, resource) -> verbs that every node has, whatever the object.
_EVERY_NODE: dict[tuple[str, str], frozenset[str]] = {
    ("", "services"): _READ,
    ("discovery.k8s.io", "endpointslices"): _READ,
    ("", "events"): frozenset(("create", "patch", "update")),
    ("events.k8s.io", "events"): frozenset(("create", "patch", "update")),
    ("certificates.k8s.io", "certificatesigningrequests"): frozenset(("create", *_READ)),
    ("node.k8s.io", "runtimeclasses"): _READ,
    ("storage.k8s.io", "csidrivers"): _READ,
    ("authentication.k8s.io", "tokenreviews"): frozenset(("create",)),
    ("authorization.k8s.io", "subjectaccessreviews"): frozenset(("create",)),
    ("authorization.k8s.io", "localsubjectaccessreviews"): frozenset(("create",)),
}
_REFERRED = frozenset(("secrets", "configmaps"))
_LISTED_BY_NODE = frozenset(("list", "watch", "deletecollection"))


@dataclass(frozen=True, slots=True)
class Pods:
    """Look-ups among pods, each with the node's name first.

    `is_bound(node, namespace, pod)`: the pod is bound to the node. `refers(node, resource, namespace,
    name)`: a pod bound to the node refers to that secret, configmap, serviceaccount, claim or volume, or the
    object (a volumeattachment, a resourceslice) is the node's.
    """

    is_bound: Callable[[str, str, str], bool]
    refers: Callable[[str, str, str, str], bool]


def node_name(user: User) -> str:
    """The node that the user is the agent of; "" for anybody else."""
    is_node = GROUP in user.groups and user.name.startswith(PREFIX)
    return user.name.removeprefix(PREFIX) if is_node else ""


def authorize(node: str, asked: Attributes, pods: Pods) -> Decision:
    """What the agent of this node may do; what is not named here is left to RBAC."""
    if not asked.is_resource:
        return DENIED
    if not asked.subresource and asked.verb in _EVERY_NODE.get((asked.group, asked.resource), ()):
        return _ALLOWED
    match asked.group, asked.resource:
        case "", "nodes":
            return _own_node(node, asked)
        case "", "pods":
            return _own_pod(node, asked, pods)
        case "", "serviceaccounts":
            return _service_account(node, asked, pods)
        case "", resource if resource in _REFERRED:
            return _referred(node, asked, pods)
        case "", "persistentvolumeclaims":
            return _claim(node, asked, pods)
        case (
            ("", "persistentvolumes")
            | ("storage.k8s.io", "volumeattachments")
            | (
                "resource.k8s.io",
                "resourceclaims",
            )
        ):
            return _related(node, asked, pods)
        case "resource.k8s.io", "resourceslices":
            return _slice(node, asked, pods)
        case "coordination.k8s.io", "leases":
            return _own_lease(node, asked)
        case "storage.k8s.io", "csinodes":
            return _own_csi_node(node, asked)
    return DENIED


def _denied(reason: str) -> Decision:
    return Decision(allowed=False, reason=reason)


def _own_node(node: str, asked: Attributes) -> Decision:
    """Any write goes on to admission; reads are of its own Node alone, by name or by selector."""
    is_write = asked.verb in {"update", "patch"} or (not asked.subresource and asked.verb in {"create", "delete"})
    if asked.subresource not in {"", "status"} or (asked.verb not in _READ and not is_write):
        return DENIED
    if is_write or asked.name == node:
        return _ALLOWED
    if not asked.name:
        return _denied(f"node '{node}' cannot read all nodes, only its own Node object")
    return _denied(f"node '{node}' cannot read '{asked.name}', only its own Node object")


def _own_pod(node: str, asked: Attributes, pods: Pods) -> Decision:
    """Creation, deletion, eviction and status go on to admission; reads are of pods bound to the node."""
    writes = {"": {"create", "delete"}, "status": {"update", "patch"}, "eviction": {"create"}}
    if asked.verb in writes.get(asked.subresource, ()):
        return _ALLOWED
    if asked.subresource not in {"", "status"} or asked.verb not in _READ:
        return DENIED
    if asked.verb != "get" and _selects_node(node, asked.fields):
        return _ALLOWED
    if not asked.name:
        return _denied("can only list/watch pods with spec.nodeName field selector")
    return _ALLOWED if pods.is_bound(node, asked.namespace, asked.name) else _no_relationship(node, asked)


def _selects_node(node: str, fields: str) -> bool:
    try:
        return selectors.parse_fields(fields).equalities().get("spec.nodeName") == node
    except ValueError:
        return False


def _service_account(node: str, asked: Attributes, pods: Pods) -> Decision:
    is_token = asked.subresource == "token" and asked.verb == "create"
    if not is_token and (asked.subresource or asked.verb != "get"):
        return DENIED
    return _found(node, asked, pods)


def _referred(node: str, asked: Attributes, pods: Pods) -> Decision:
    if asked.subresource:
        return _denied("cannot read subresource") if asked.verb in _READ else DENIED
    if asked.verb not in _READ:
        return _denied("can only read resources of this type")
    if not asked.name:
        return _denied("can only read namespaced object of this type")
    return _found(node, asked, pods)


def _claim(node: str, asked: Attributes, pods: Pods) -> Decision:
    """Its status may be written as well, as volumes grow."""
    if asked.subresource == "status":
        if asked.verb not in {"update", "patch"}:
            return _denied("can only update/patch status subresource")
        return _found(node, asked, pods) if asked.name else _denied("no name given")
    return _related(node, asked, pods)


def _related(node: str, asked: Attributes, pods: Pods) -> Decision:
    if asked.verb != "get":
        return _denied("can only get individual resources of this type")
    if asked.subresource:
        return _denied("cannot get subresource")
    return _found(node, asked, pods)


def _slice(node: str, asked: Attributes, pods: Pods) -> Decision:
    if asked.subresource:
        return _denied("cannot authorize ResourceSlice subresources")
    if asked.verb == "create":
        return _ALLOWED
    if asked.verb in _LISTED_BY_NODE:
        if _selects_node(node, asked.fields):
            return _ALLOWED
        return _denied(f"can only {asked.verb} resourceslices with spec.nodeName field selector")
    if asked.verb in {*_CHANGE, "delete"}:
        return _found(node, asked, pods)
    return _denied(
        "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, "
        "patch, delete, deletecollection"
    )


def _own_csi_node(node: str, asked: Attributes) -> Decision:
    if asked.subresource:
        return _denied("cannot authorize CSINode subresources")
    if asked.verb not in {"create", *_CHANGE, "delete"}:
        return _denied("can only get, create, update, patch, or delete a CSINode")
    if asked.verb != "create" and asked.name != node:
        return _denied("can only access CSINode with the same name as the requesting node")
    return _ALLOWED


def _found(node: str, asked: Attributes, pods: Pods) -> Decision:
    if pods.refers(node, asked.resource, asked.namespace, asked.name):
        return _ALLOWED
    return _no_relationship(node, asked)


def _no_relationship(node: str, asked: Attributes) -> Decision:
    return _denied(f"no relationship found between node '{node}' and this object")


def _own_lease(node: str, asked: Attributes) -> Decision:
    if asked.subresource or asked.verb not in {"get", "create", "update", "patch", "delete"}:
        return _denied("can only get, create, update, patch, or delete a node lease")
    if asked.namespace != LEASE_NAMESPACE:
        return _denied(f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
    if asked.verb != "create" and asked.name != node:
        return _denied("can only access node lease with the same name as the requesting node")
    return _ALLOWED
