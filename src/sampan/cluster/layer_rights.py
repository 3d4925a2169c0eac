"""Layer rights: the ServiceAccount by which a layer runs beside a cluster, with the rights that it needs and no others.

What it follows and brings is known from the layer; what else it does, it says. ClusterRoles that it brings hand out rights,
and nobody may hand out what he does not have: so it has these too.
"""

from sampan.cluster import layers
from sampan.control.controller import Controller
from sampan.kinds.builtin import KINDS
from sampan.kinds.kind import Object
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.meta import objects
from sampan.platform import definitions, rights
from sampan.platform.layer import Layer
from sampan.platform.rights import APPLY, FOLLOW, rule

RBAC = "rbac.authorization.k8s.io"
_BUILT_IN = {(kind.api_version, kind.name): kind for kind in KINDS}


def manifest(layer: Layer) -> list[Object]:
    """What is to be applied to the cluster before the layer runs beside it."""
    name = layers.manager(layer.name)
    account = {"kind": "ServiceAccount", "name": name, "namespace": layers.NAMESPACE}
    home = {"name": name, "namespace": layers.NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": home},
        {**_rbac("ClusterRole", {"name": name}), "rules": everywhere(layer)},
        {**_rbac("ClusterRoleBinding", {"name": name}), "roleRef": _role("ClusterRole", name), "subjects": [account]},
        {**_rbac("Role", home), "rules": at_home(layer)},
        {**_rbac("RoleBinding", home), "roleRef": _role("Role", name), "subjects": [account]},
    ]


def everywhere(layer: Layer) -> list[Object]:
    """The rules of its ClusterRole."""
    controllers = [each for each in layer.controllers if isinstance(each, Controller)]
    followed = [kind for each in controllers for kind in each.kinds]
    followed += [kind for reviewer in layer.reviewers for kind in (*reviewer.reads, *reviewer.writes)]
    is_all = len(controllers) < len(layer.controllers)  # one of them is about all kinds
    rules = [rule("*", ("*",), FOLLOW)] if is_all else rights.following([*followed, *layer.rights.follows])
    if layer.controllers:
        rules.append(rule("", ("events",), APPLY))
    if layer.definitions:
        named = [objects.name(definition) for definition in layer.definitions]
        rules.append(rule("apiextensions.k8s.io", ("customresourcedefinitions",), ("get", *APPLY), named))
    rules += _brought(layer)
    for kind in dict.fromkeys(kind for reviewer in layer.reviewers for kind in reviewer.writes):
        rules.append(rule(kind.group, (kind.plural,), ("get",)))  # as it is now, where somebody else was faster
        rules.append(rule(kind.group, (f"{kind.plural}/status",), ("update",)))
    if layer.reviewers:
        named = [layers.manager(layer.name)]
        rules.append(
            rule("admissionregistration.k8s.io", ("validatingwebhookconfigurations",), (*APPLY, "delete"), named)
        )
    return rights.needed((*rules, *layer.rights.everywhere))


def at_home(layer: Layer) -> list[Object]:
    """The rules of its Role where layers keep what is theirs: is it enabled there, and who works for it."""
    _, lease = layers.lease(layer.name)
    return [
        rule("", ("configmaps",), ("get",), (layers.CONFIG,)),
        rule("coordination.k8s.io", ("leases",), ("create",)),
        rule("coordination.k8s.io", ("leases",), ("get", "update"), (lease,)),
        *layer.rights.at_home,
    ]


def _brought(layer: Layer) -> list[Object]:
    """To apply its objects, and to hand out what those hand out."""
    own = {kind.name: kind for kind in map(definitions.kind, layer.definitions)}
    named: dict[tuple[str, str], list[str]] = {}
    handed: list[Object] = []
    for obj in layer.objects:
        kind = own[obj["kind"]] if obj["kind"] in own else _BUILT_IN[obj["apiVersion"], obj["kind"]]
        named.setdefault((kind.group, kind.plural), []).append(objects.name(obj))
        if kind.resource == CLUSTERROLE.resource:
            handed += obj["rules"]
    return [*(rule(group, (plural,), APPLY, names) for (group, plural), names in named.items()), *handed]


def _rbac(kind: str, metadata: Object) -> Object:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata}


def _role(kind: str, name: str) -> Object:
    return {"apiGroup": RBAC, "kind": kind, "name": name}
