"""Join tokens: what a cluster must hold so that a machine with a token can become a node of it.

Made when somebody asks for a token, and not before: the token itself, cluster-info that it signs and that anybody may
read, what a node must know of the cluster, and the few rights that a joining machine has.

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from sampan.client.api import Client
from sampan.cluster import key_files
from sampan.cluster.settings import Settings
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Kind
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.kinds.rbac.cluster_role_binding import CLUSTERROLEBINDING
from sampan.kinds.rbac.role import ROLE
from sampan.kinds.rbac.role_binding import ROLEBINDING
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.version import VERSION
from sampan.meta import timestamps
from sampan.web import certificates

INFO, INFO_NAMESPACE, INFO_KEY = "cluster-info", "kube-public", "kubeconfig"
SIGNATURE_PREFIX = "jws-kubeconfig-"
FACTS, FACTS_NAMESPACE = "sampan-config", "kube-system"
GROUP = "system:bootstrappers:sampan:joining-nodes"
MANAGER = "sampan-node-token"
SIGNED_SECONDS, LOOK_SECONDS = 15.0, 0.05

_CERTIFICATES = "system:certificates.k8s.io:certificatesigningrequests"

Object = dict[str, Any]


class TokenError(Exception):
    """No token can be made: one line that says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a machine needs to join."""

    server: str
    token: str
    ca_hash: str

    @property
    def command(self) -> str:
        return f"sampan node join {self.server} --token {self.token} --ca-hash {self.ca_hash}"


def check(cluster: Settings) -> None:
    """Raises TokenError when no other machine could be a node of this cluster."""
    name = "" if cluster.name == "sampan" else f" --name {cluster.name}"
    if cluster.joined_to:
        raise TokenError(f"this is a node of {cluster.joined_to}: make the token on that machine")
    if cluster.runtime == "simulated":
        raise TokenError(f"the nodes of {cluster.name} are simulated, and real ones can't be beside them")
    if cluster.rootless:
        raise TokenError(f"{cluster.name} runs without root, in a network of its own that other machines don't reach")
    if cluster.has_lan:
        raise TokenError(
            f"{cluster.name} has {cluster.nodes} nodes on this machine, in a network that others don't reach; "
            f"start it with one: sampan down{name}, then sampan up{name} --nodes 1 --listen ADDRESS"
        )
    if cluster.api_at:
        raise TokenError(
            f"{cluster.name} is a further control plane: make the token at the first one; a machine can join with it by "
            "the address of either"
        )
    if not cluster.node_ip:
        raise TokenError(
            f"{cluster.name} listens on {cluster.listen}, which other machines don't reach; "
            f"start it on an IPv4 address that they do: sampan down{name}, then sampan up{name} --listen ADDRESS"
        )


def server(cluster: Settings) -> str:
    """HOST:PORT by which other machines reach the API."""
    return f"{cluster.node_ip}:{cluster.api_port}"


async def make(api: Client, cluster: Settings, ttl_seconds: float, clock: Clock, ids: Ids) -> Ticket:
    """A new token, and all that it takes for it to be of use. TokenError, ApiError, TransportError."""
    check(cluster)
    authority = cluster.path("pki", f"{key_files.AUTHORITY}.crt").read_bytes()
    await asyncio.gather(*(_put(api, kind, obj) for kind, obj in surroundings(cluster, authority)))
    id, secret = ids.suffix(6), ids.suffix(16)
    ends = clock.now() + ttl_seconds if ttl_seconds else None
    await api.create(SECRET, _token(id, secret, ends))
    await _wait_signed(api, id, clock)
    return Ticket(server(cluster), f"{id}.{secret}", certificates.key_hash(authority))


def surroundings(cluster: Settings, authority: bytes) -> Iterator[tuple[Kind, Object]]:
    """Everything but the token."""
    yield CONFIGMAP, _config_map(INFO_NAMESPACE, INFO, {INFO_KEY: kubeconfig(cluster, authority)})
    yield CONFIGMAP, _config_map(FACTS_NAMESPACE, FACTS, facts(cluster))
    yield from _readable(INFO_NAMESPACE, INFO, {"kind": "User", "name": "system:anonymous"})
    yield from _readable(FACTS_NAMESPACE, FACTS, _group(GROUP))
    get = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
    yield CLUSTERROLE, {**_named(CLUSTERROLE, "sampan:get-nodes"), "rules": get}
    for name, role in (
        ("sampan:get-nodes", "sampan:get-nodes"),
        ("sampan:node-bootstrapper", "system:node-bootstrapper"),
        ("sampan:node-autoapprove-bootstrap", f"{_CERTIFICATES}:nodeclient"),
    ):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        made = _named(CLUSTERROLEBINDING, name)
        yield CLUSTERROLEBINDING, {**made, "roleRef": reference, "subjects": [_group(GROUP)]}


def kubeconfig(cluster: Settings, authority: bytes) -> str:
    """The part of one that is no secret: where the API is, and its authority."""
    data = {
        "server": f"https://{server(cluster)}",
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    clusters = [{"name": "", "cluster": data}]
    empty: Object = {"contexts": None, "current-context": "", "preferences": {}, "users": None}
    return str(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": clusters, **empty}))


def facts(cluster: Settings) -> dict[str, str]:
    """What a node must know of its cluster, beside what its own object says."""
    return {
        "cluster": cluster.name,
        "index": str(cluster.index),
        "overlay": cluster.overlay,
        "loadBalancer": cluster.load_balancer,
        "ipFamilies": cluster.ip_families,
        "version": VERSION,
    }


async def _put(api: Client, kind: Kind, obj: Object) -> None:
    await api.apply(kind, obj, manager=MANAGER, force=True)


async def _wait_signed(api: Client, id: str, clock: Clock) -> None:
    deadline = clock.monotonic() + SIGNED_SECONDS
    while clock.monotonic() < deadline:
        info = await api.get(CONFIGMAP, INFO, INFO_NAMESPACE)
        if f"{SIGNATURE_PREFIX}{id}" in (info.get("data") or {}):
            return
        await clock.sleep(LOOK_SECONDS)
    raise TokenError("the token was made, but cluster-info is not signed with it: are the controllers running?")


def _token(id: str, secret: str, ends: float | None) -> Object:
    data = {
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": GROUP,
        "description": "made by `sampan node token`",
    }
    if ends is not None:
        data["expiration"] = timestamps.format(ends)
    metadata = {"name": f"bootstrap-token-{id}", "namespace": "kube-system"}
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "bootstrap.kubernetes.io/token"}
    return {**token, "stringData": data}


def _readable(namespace: str, name: str, who: Object) -> Iterator[tuple[Kind, Object]]:
    """One ConfigMap may be read by these."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]}
    role = f"sampan:{name}"
    yield ROLE, {**_named(ROLE, role, namespace), "rules": [rule]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    subject = {"apiGroup": "rbac.authorization.k8s.io", **who}
    yield ROLEBINDING, {**_named(ROLEBINDING, role, namespace), "roleRef": reference, "subjects": [subject]}


def _config_map(namespace: str, name: str, data: dict[str, str]) -> Object:
    return {**_named(CONFIGMAP, name, namespace), "data": data}


def _group(name: str) -> Object:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}


def _named(kind: Kind, name: str, namespace: str = "") -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
