"""A node agent writes only what is its node's: its Node, the pods bound to it, their tokens, its lease.

The node authorizer lets an agent's writes pass by their kind; here each is checked by its content, so
that a node that was taken over reaches no other node, and cannot draw pods to itself by its labels,
taints or owners.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from typing import Any

from sampan.kinds.core.node import NODE
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, DELETE, UPDATE, Attributes, Lookup
from sampan.server.admission.service_account import MIRROR_ANNOTATION
from sampan.server.authz import nodes, references

RESTRICTED_LABELS = "node-restriction.kubernetes.io"
_RESERVED_LABELS = ("kubernetes.io", "k8s.io")
# What an agent may say about its own node although the label's name belongs to Kubernetes.
_AGENT_LABELS = frozenset(
    (
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os",
        "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    )
)  # fmt: skip
_AGENT_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")

Tree = dict[str, Any]


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 or 404 for a write of a node agent that is not its node's."""
    user = attributes.call.user
    if nodes.GROUP not in user.groups:
        return
    node = nodes.node_name(user)
    if not node:
        if user.name.startswith(nodes.PREFIX):
            raise _forbidden(attributes, f'could not determine node from user "{user.name}"')
        return
    match attributes.kind.group, attributes.kind.plural:
        case "", "pods":
            why = _pod(node, attributes, lookup)
        case "", "nodes":
            why = _node(node, attributes)
        case "", "persistentvolumeclaims":
            why = _claim(node, attributes)
        case "resource.k8s.io", "resourceslices":
            why = _slice(node, attributes)
        case "coordination.k8s.io", "leases":
            why = _lease(node, attributes)
        case "storage.k8s.io", "csinodes":
            is_own = _name(attributes) == node
            why = "" if is_own else "can only access CSINode with the same name as the requesting node"
        case _:
            why = ""
    if why:
        raise _forbidden(attributes, why)


def check_token(node: str, reference: Tree | None, pod: Tree | None) -> str:
    """Why an agent may not have this token; "" when it may. `pod` is the one that the reference names."""
    reference = reference or {}
    if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not reference.get("name"):
        return "node requested token not bound to a pod"
    uid = reference.get("uid")
    if not uid:
        return "node requested token with a pod binding without a uid"
    if pod is None:
        return f'pod "{reference["name"]}" not found'
    if uid != objects.uid(pod):
        return (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
    if objects.get_path(pod, "spec.nodeName") != node:
        return "node requested token bound to a pod scheduled on a different node"
    return ""


def _forbidden(attributes: Attributes, why: str) -> status.ApiError:
    return status.forbidden(attributes.kind.group, attributes.kind.plural, _name(attributes), why)


def _name(attributes: Attributes) -> str:
    return objects.name(attributes.old or attributes.obj or {}) or attributes.call.name


# Pods


def _pod(node: str, attributes: Attributes, lookup: Lookup) -> str:
    is_own = objects.get_path(attributes.old or {}, "spec.nodeName") == node
    match attributes.subresource, attributes.operation:
        case "", "CREATE":
            return _mirror_pod(node, attributes.obj or {}, lookup)
        case (("" | "status"), "DELETE"):
            return "" if is_own else f'node "{node}" can only delete pods with spec.nodeName set to itself'
        case "", operation:
            return f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods'
        case "status", "UPDATE":
            return _pod_status(node, attributes.obj or {}, attributes.old or {}, is_own=is_own)
    return f"unexpected pod subresource \"{attributes.subresource}\", only 'status' and 'eviction' are allowed"


def _mirror_pod(node: str, pod: Tree, lookup: Lookup) -> str:
    if MIRROR_ANNOTATION not in objects.annotations(pod):
        return f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods'
    if objects.get_path(pod, "spec.nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    return _mirror_owner(node, pod, lookup) or _mirror_references(node, pod)


def _mirror_owner(node: str, pod: Tree, lookup: Lookup) -> str:
    """A mirror pod belongs to its node, and to nobody else."""
    can_only = f'node "{node}" can only create pods with'
    owners = pod["metadata"].get("ownerReferences") or []
    if len(owners) > 1:
        return f"{can_only} a single owner reference set to itself"
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", NODE.name, node):
        return f"{can_only} an owner reference set to itself"
    if owner.get("controller") is not True:
        return f"{can_only} a controller owner reference set to itself"
    if owner.get("blockOwnerDeletion"):
        return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
    live = lookup.get(NODE, "", node)
    if live is None:
        raise status.not_found(NODE.group, NODE.plural, node)
    if owner.get("uid") != objects.uid(live.tree):
        return f"node {node} UID mismatch: expected {owner.get('uid', '')} got {objects.uid(live.tree)}"
    return ""


def _mirror_references(node: str, pod: Tree) -> str:
    """A mirror pod refers to no other object: else its node could read any that it names."""
    spec = pod.get("spec") or {}
    can_not = f'node "{node}" can not create pods that reference'
    if spec.get("serviceAccountName"):
        return f"{can_not} a service account"
    if references.secrets(pod):
        return f"{can_not} secrets"
    if references.config_maps(pod):
        return f"{can_not} configmaps"
    volumes = spec.get("volumes") or ()
    projected = [source for v in volumes for source in (v.get("projected") or {}).get("sources") or ()]
    if any(source.get("clusterTrustBundle") for source in projected):
        return f"{can_not} clustertrustbundles"
    if any(source.get("serviceAccountToken") for source in projected):
        return f"{can_not} a service account"
    if any(volume.get("persistentVolumeClaim") for volume in volumes):
        return f"{can_not} persistentvolumeclaims"
    return ""


def _pod_status(node: str, new: Tree, old: Tree, *, is_own: bool) -> str:
    if not is_own:
        return f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
    if objects.labels(new) != objects.labels(old):
        return f'node "{node}" cannot update labels through pod status'
    path = "status.resourceClaimStatuses"
    if (objects.get_path(new, path) or []) != (objects.get_path(old, path) or []):
        return f'node "{node}" cannot update resource claim statues'
    return ""


# Claims and slices


_CLAIM_PARTS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")


def _claim(node: str, attributes: Attributes) -> str:
    """Of a claim only how far it has grown."""
    if attributes.subresource != "status":
        return "may only update PVC status"
    if attributes.operation != UPDATE:
        return f'unexpected operation "{attributes.operation}"'
    new, old = _beside_growth(attributes.obj or {}), _beside_growth(attributes.old or {})
    changed = [path for path in dict.fromkeys((*new, *old)) if (new.get(path) or None) != (old.get(path) or None)]
    if not changed:
        return ""
    what = "status.quantity and status.conditions"
    return f'node "{node}" is not allowed to update fields other than {what}: {", ".join(changed)}'


def _beside_growth(claim: Tree) -> Tree:
    """By path, all of a claim that its node has no say in."""
    metadata = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    state = {k: v for k, v in (claim.get("status") or {}).items() if k not in _CLAIM_PARTS}
    rest = {k: v for k, v in claim.items() if k not in ("metadata", "status")}
    return rest | {f"metadata.{k}": v for k, v in metadata.items()} | {f"status.{k}": v for k, v in state.items()}


def _slice(node: str, attributes: Attributes) -> str:
    """It tells of no other node's devices, and takes back only what it told."""
    if attributes.operation not in (CREATE, DELETE):
        return ""
    given = attributes.obj if attributes.operation == CREATE else attributes.old
    if objects.get_path(given or {}, "spec.nodeName") == node:
        return ""
    verb = attributes.operation.lower()
    return f"can only {verb} ResourceSlice with the same NodeName as the requesting node"


# The Node and its lease


def _node(node: str, attributes: Attributes) -> str:
    name = _name(attributes)
    if name != node:
        return f'node "{node}" is not allowed to modify node "{name}"'
    new, old = attributes.obj or {}, attributes.old or {}
    if attributes.operation == DELETE:
        return ""
    modified = _modified(objects.labels(new), objects.labels(old))
    reserved = ", ".join(sorted(key for key in modified if _is_reserved(key)))
    if attributes.operation == CREATE:
        if objects.get_path(new, "spec.configSource") is not None:
            return f'node "{node}" is not allowed to create pods with a non-nil configSource'
        return f'node "{node}" is not allowed to set the following labels: {reserved}' if reserved else ""
    source = objects.get_path(new, "spec.configSource")
    if source is not None and source != objects.get_path(old, "spec.configSource"):
        return f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
    if (objects.get_path(new, "spec.taints") or []) != (objects.get_path(old, "spec.taints") or []):
        return f'node "{node}" is not allowed to modify taints'
    if _owners(new) != _owners(old):
        return f'node "{node}" is not allowed to modify ownerReferences'
    return f"is not allowed to modify labels: {reserved}" if reserved else ""


def _owners(obj: Tree) -> list[Any]:
    return obj["metadata"].get("ownerReferences") or []


def _modified(new: dict[str, str], old: dict[str, str]) -> set[str]:
    """The keys of labels that were added, changed or taken away."""
    return {key for key in {*new, *old} if new.get(key) != old.get(key)}


def _is_reserved(key: str) -> bool:
    """Whether a label's name is not an agent's to give: it steers pods, or belongs to Kubernetes."""
    namespace = key.partition("/")[0] if "/" in key else ""
    if _within(namespace, RESTRICTED_LABELS):
        return True
    if not any(_within(namespace, reserved) for reserved in _RESERVED_LABELS):
        return False
    return key not in _AGENT_LABELS and not any(_within(namespace, own) for own in _AGENT_NAMESPACES)


def _within(namespace: str, domain: str) -> bool:
    return namespace == domain or namespace.endswith(f".{domain}")


def _lease(node: str, attributes: Attributes) -> str:
    if attributes.call.namespace != nodes.LEASE_NAMESPACE:
        return f'can only access leases in the "{nodes.LEASE_NAMESPACE}" system namespace'
    if _name(attributes) != node:
        return "can only access node lease with the same name as the requesting node"
    return ""
