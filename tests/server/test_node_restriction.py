"""What a node agent may write: its own Node, its pods' status and end, mirror pods, its lease, its pods' tokens."""

from typing import Any

import pytest

from sampan.web.message import Peer
from tests.server.conftest import Api, pod

NODE_1 = Peer("system:node:n1", ("system:nodes",))
PODS = "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MERGE = "application/merge-patch+json"
Tree = dict[str, Any]


def node(name: str, **metadata: Any) -> Tree:
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, **metadata}}


def lease(name: str) -> Tree:
    return {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name}, "spec": {}}


async def refused(api: Api, method: str, path: str, body: Any = b"", **headers: str) -> str:
    """The message of a 403 for node n1."""
    answer = await api.send(method, path, body, NODE_1, **headers)
    assert answer.status == 403, answer.body
    return str(answer.tree["message"])


async def allowed(api: Api, method: str, path: str, body: Any = b"", **headers: str) -> Tree:
    answer = await api.send(method, path, body, NODE_1, **headers)
    assert answer.status in (200, 201), answer.body
    return answer.tree


async def test_a_node_writes_only_its_own_node(api: Api) -> None:
    """It registers itself, changes what is its own to say, and no other node."""
    message = await refused(api, "POST", "/api/v1/nodes", node("n2"))
    assert message == 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'
    reserved = {"node-restriction.kubernetes.io/secure": "yes", "kubernetes.io/hostname": "n1", "own": "x"}
    message = await refused(api, "POST", "/api/v1/nodes", node("n1", labels=reserved))
    assert message.endswith("not allowed to set the following labels: node-restriction.kubernetes.io/secure")
    await api.create("/api/v1/nodes", node("n2"))
    await allowed(api, "POST", "/api/v1/nodes", node("n1", labels={"kubernetes.io/hostname": "n1", "own": "x"}))
    for path in ("/api/v1/nodes/n2", "/api/v1/nodes/n2/status"):
        message = await refused(api, "PATCH", path, {"status": {"phase": "x"}}, content_type=MERGE)
        assert message == 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'
    assert "not allowed to modify node" in await refused(api, "DELETE", "/api/v1/nodes/n2")


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ({"metadata": {"labels": {"node-role.kubernetes.io/admin": ""}}}, "labels: node-role.kubernetes.io/admin"),
        ({"metadata": {"labels": {"a.node-restriction.kubernetes.io/b": ""}}}, "labels: a.node-restriction"),
        ({"metadata": {"labels": {"secure.k8s.io/x": ""}}}, "labels: secure.k8s.io/x"),
        ({"metadata": {"labels": {"node-restriction.kubernetes.io/kept": None}}}, "labels: node-restriction"),
        ({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, "taints"),
        (
            {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}},
            "ownerReferences",
        ),
    ],
)
async def test_a_node_does_not_steer_pods_to_itself(api: Api, patch: Tree, why: str) -> None:
    """Reserved labels, taints and owners are not its own to change, even on its own Node."""
    await api.create("/api/v1/nodes", node("n1", labels={"node-restriction.kubernetes.io/kept": "yes"}))
    message = await refused(api, "PATCH", "/api/v1/nodes/n1", patch, content_type=MERGE)
    assert f"is not allowed to modify {why}" in message
    harmless = {"metadata": {"labels": {"own": "y", "topology.kubernetes.io/zone": "a"}}}
    await allowed(api, "PATCH", "/api/v1/nodes/n1", harmless, content_type=MERGE)


async def test_a_node_touches_only_its_pods(api: Api) -> None:
    """Status and deletion of pods bound to it; nothing of others; no spec at all."""
    await api.create("/api/v1/nodes", node("n1"))
    await api.create(PODS, pod("mine", nodeName="n1"))
    await api.create(PODS, pod("other", nodeName="n2"))
    status = {"status": {"phase": "Running"}}
    await allowed(api, "PATCH", f"{PODS}/mine/status", status, content_type=MERGE)
    message = await refused(api, "PATCH", f"{PODS}/other/status", status, content_type=MERGE)
    assert message.endswith('node "n1" can only update pod status for pods with spec.nodeName set to itself')
    message = await refused(api, "DELETE", f"{PODS}/other")
    assert message.endswith('node "n1" can only delete pods with spec.nodeName set to itself')
    await refused(api, "PATCH", f"{PODS}/mine", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    await refused(api, "POST", f"{PODS}/other/binding", {"target": {"name": "n1"}})
    await refused(api, "DELETE", PODS)
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "other"}}
    await refused(api, "POST", f"{PODS}/other/eviction", eviction)
    await allowed(api, "DELETE", f"{PODS}/mine?gracePeriodSeconds=0")
    assert (await api.get(f"{PODS}/other"))["metadata"].get("deletionTimestamp") is None


NETWORK_ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:sampan:node-network"
READ_FOR_THE_NETWORK = (
    "/api/v1/nodes", "/api/v1/namespaces", "/api/v1/services", "/api/v1/pods",
    "/apis/discovery.k8s.io/v1/endpointslices", "/apis/networking.k8s.io/v1/networkpolicies",
)  # fmt: skip


async def test_a_node_reads_what_the_network_is_made_of(api: Api) -> None:
    """All pods' and nodes' addresses, and the policies among them; it may write none of it, and read no secrets."""
    await api.create(PODS, pod("other", nodeName="n2"))
    for path in READ_FOR_THE_NETWORK:
        await allowed(api, "GET", path)
        assert (await api.send("GET", f"{path}?watch=1&timeoutSeconds=1", b"", NODE_1)).status == 200
    assert "no relationship found" in await refused(api, "GET", f"{PODS}/other")
    for path in ("/api/v1/secrets", "/api/v1/configmaps", "/api/v1/namespaces/kube-system/secrets"):
        await refused(api, "GET", path)
    policy = {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "x"}, "spec": {}}
    await refused(api, "POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", policy)


async def test_a_node_reads_how_its_name_server_is_configured(api: Api) -> None:
    """By name, one ConfigMap of its namespace and no other."""
    maps = "/api/v1/namespaces/kube-system/configmaps"
    await allowed(api, "GET", f"{maps}?fieldSelector=metadata.name=kube-dns")
    await refused(api, "GET", f"{maps}?fieldSelector=metadata.name=kube-proxy")
    await refused(api, "GET", maps)
    await refused(api, "GET", f"{maps}/kubeadm-config")
    await refused(api, "GET", "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name=kube-dns")


async def test_a_node_reads_only_its_pods(api: Api) -> None:
    """By selector or by name, unless a role lets it; and one watch by name shows no other object."""
    await api.delete(NETWORK_ROLE)
    await api.create("/api/v1/nodes", node("n1"))
    await api.create(PODS, pod("mine", nodeName="n1"))
    await api.create(PODS, pod("other", nodeName="n2"))
    found = await allowed(api, "GET", "/api/v1/pods?fieldSelector=spec.nodeName=n1")
    assert [item["metadata"]["name"] for item in found["items"]] == ["mine"]
    await allowed(api, "GET", f"{PODS}/mine")
    assert "no relationship found" in await refused(api, "GET", f"{PODS}/other")
    message = await refused(api, "GET", "/api/v1/pods")
    assert message.endswith("can only list/watch pods with spec.nodeName field selector")
    assert "cannot read all nodes" in await refused(api, "GET", "/api/v1/nodes")
    watched = await api.send("GET", f"{PODS}/mine?watch=1&timeoutSeconds=1", b"", NODE_1)
    assert b'"mine"' in watched.body
    assert b'"other"' not in watched.body


async def test_a_node_creates_only_mirror_pods(api: Api) -> None:
    """Bound to itself, owned by its Node, and without a word about any other object."""
    made = await api.create("/api/v1/nodes", node("n1"))
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": made["metadata"]["uid"], "controller": True}
    assert "can only create mirror pods" in await refused(api, "POST", PODS, pod("p", nodeName="n1"))

    def mirror(owners: list[Tree], **spec: Any) -> Tree:
        made = pod("mirror", **{"nodeName": "n1", **spec})
        made["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": owners}
        return made

    secret = [{"name": "v", "secret": {"secretName": "s"}}]
    wrong: list[tuple[Tree, str]] = [
        (mirror([owner], nodeName="n2"), "can only create pods with spec.nodeName set to itself"),
        (mirror([]), "with an owner reference set to itself"),
        (mirror([owner, {**owner, "uid": "u", "controller": False}]), "with a single owner reference"),
        (mirror([{**owner, "uid": "another"}]), "UID mismatch"),
        (mirror([{**owner, "controller": False}]), "with a controller owner reference set to itself"),
        (mirror([{**owner, "blockOwnerDeletion": True}]), "must not set blockOwnerDeletion"),
        (mirror([owner], volumes=secret), "can not create pods that reference secrets"),
        (mirror([owner], serviceAccountName="default"), "can not create pods that reference a service account"),
        (mirror([owner], imagePullSecrets=[{"name": "s"}]), "can not create pods that reference secrets"),
    ]
    for body, why in wrong:
        assert why in await refused(api, "POST", PODS, body), why
    await allowed(api, "POST", PODS, mirror([owner]))


async def test_a_node_renews_only_its_lease(api: Api) -> None:
    """In the namespace for that."""
    await allowed(api, "POST", LEASES, lease("n1"))
    await api.create(LEASES, lease("n2"))
    assert "node lease with the same name" in await refused(api, "POST", LEASES, lease("n3"))
    for method in ("PUT", "DELETE"):
        assert "node lease with the same name" in await refused(api, method, f"{LEASES}/n2", lease("n2"))
    elsewhere = LEASES.replace("kube-node-lease", "default")
    assert "kube-node-lease" in await refused(api, "POST", elsewhere, lease("n1"))


async def test_a_node_gets_tokens_of_its_pods_only(api: Api) -> None:
    """Bound to the pod by name and uid."""
    await api.create("/api/v1/nodes", node("n1"))
    sources = [{"serviceAccountToken": {"path": "token"}}]
    volumes = [{"name": "access", "projected": {"sources": sources}}]
    mine = await api.create(PODS, pod("mine", nodeName="n1", volumes=volumes))
    other = await api.create(PODS, pod("other", nodeName="n2", volumes=volumes))
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"

    def request(reference: Tree | None) -> Tree:
        spec = {"boundObjectRef": reference} if reference else {}
        return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}

    reference = {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": mine["metadata"]["uid"]}
    await allowed(api, "POST", path, request(reference))
    wrong: list[tuple[Tree | None, str]] = [
        (None, "not bound to a pod"),
        ({"kind": "Node", "apiVersion": "v1", "name": "n1"}, "not bound to a pod"),
        ({**reference, "uid": ""}, "without a uid"),
        ({**reference, "uid": "another"}, "does not match the UID in record"),
        ({**reference, "name": "other", "uid": other["metadata"]["uid"]}, "scheduled on a different node"),
    ]
    for asked, why in wrong:
        assert why in await refused(api, "POST", path, request(asked)), why
    nobodys = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "unused"}}
    await api.create("/api/v1/namespaces/default/serviceaccounts", nobodys)
    assert "no relationship" in await refused(
        api, "POST", path.replace("/default/token", "/unused/token"), request(None)
    )


async def test_a_node_user_without_a_name_writes_nothing(api: Api) -> None:
    """A certificate of the group, for no node in particular."""
    nobody = Peer("system:node:", ("system:nodes",))
    answer = await api.send("POST", "/api/v1/nodes", node("n1"), nobody)
    assert answer.status == 403


async def test_a_node_changes_no_labels_through_a_pods_status(api: Api) -> None:
    """They choose for services and policies; owners stay as they are, whatever it says of them."""
    await api.create("/api/v1/nodes", node("n1"))
    made = pod("mine", nodeName="n1")
    made["metadata"]["labels"] = {"app": "x"}
    await api.create(PODS, made)
    path = f"{PODS}/mine/status"
    for labels in ({"app": "y"}, {"app": None}, {"more": "z"}):
        message = await refused(api, "PATCH", path, {"metadata": {"labels": labels}}, content_type=MERGE)
        assert message == 'pods "mine" is forbidden: node "n1" cannot update labels through pod status'
    live = await allowed(api, "GET", f"{PODS}/mine")
    unlabelled = {**live, "metadata": {**live["metadata"], "labels": {}}}
    assert "cannot update labels" in await refused(api, "PUT", path, unlabelled)
    owners = [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u"}]
    written = await allowed(api, "PATCH", path, {"metadata": {"ownerReferences": owners}}, content_type=MERGE)
    assert "ownerReferences" not in written["metadata"]
    written = await allowed(api, "PUT", path, {**live, "status": {**live["status"], "message": "m"}})
    assert written["status"]["message"] == "m"


async def test_a_node_steers_no_pods_by_its_status(api: Api) -> None:
    """What it may not change of its Node, it may not change through /status either."""
    await api.create("/api/v1/nodes", node("n1"))
    for metadata, why in (
        ({"labels": {"node-role.kubernetes.io/admin": ""}}, "labels: node-role.kubernetes.io/admin"),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}, "ownerReferences"),
    ):
        message = await refused(api, "PATCH", "/api/v1/nodes/n1/status", {"metadata": metadata}, content_type=MERGE)
        assert f"is not allowed to modify {why}" in message
    taints = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    message = await refused(api, "PATCH", "/api/v1/nodes/n1/status", taints, content_type=MERGE)
    assert message.endswith('node "n1" is not allowed to modify taints')


async def test_a_node_says_of_a_claim_how_far_it_has_grown(api: Api) -> None:
    """Capacity and conditions, and neither labels nor finalizers nor spec; and nothing of claims of no pod of its."""
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    for name in ("c", "other"):
        claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}
        await api.create(claims, claim)
    await api.create("/api/v1/nodes", node("n1"))
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
    await api.create(PODS, pod("mine", nodeName="n1", volumes=[volume]))
    path = f"{claims}/c/status"
    grown = {"status": {"capacity": {"storage": "2Gi"}, "allocatedResources": {"storage": "2Gi"}}}
    assert (await allowed(api, "PATCH", path, grown, content_type=MERGE))["status"]["capacity"] == {"storage": "2Gi"}
    for patch, what in (
        ({"metadata": {"labels": {"a": "b"}}}, "metadata.labels"),
        ({"metadata": {"annotations": {"a": "b"}}}, "metadata.annotations"),
        ({"metadata": {"finalizers": None}}, "metadata.finalizers"),
        ({"spec": {"volumeName": "v"}}, "spec"),
        ({"status": {"phase": "Lost"}}, "status.phase"),
    ):
        message = await refused(api, "PATCH", path, {**grown, **patch}, content_type=MERGE)
        text = 'node "n1" is not allowed to update fields other than status.quantity and status.conditions'
        assert message == f'persistentvolumeclaims "c" is forbidden: {text}: {what}'
    await refused(api, "PATCH", f"{claims}/other/status", grown, content_type=MERGE)


async def test_a_node_tells_of_no_other_nodes_devices(api: Api) -> None:
    """It makes and takes back slices of its own alone."""
    slices = "/apis/resource.k8s.io/v1/resourceslices"

    def made(name: str) -> Tree:
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": "d.example.com", "nodeName": name, "pool": pool, "devices": [{"name": "d-0"}]}
        return {"kind": "ResourceSlice", "apiVersion": "resource.k8s.io/v1", "metadata": {"name": name}, "spec": spec}

    message = await refused(api, "POST", slices, made("n2"))
    assert message.endswith("can only create ResourceSlice with the same NodeName as the requesting node")
    await api.create(slices, made("n2"))
    await allowed(api, "POST", slices, made("n1"))
    await refused(api, "DELETE", f"{slices}/n2")
    await allowed(api, "DELETE", f"{slices}/n1")
    await allowed(api, "POST", slices, made("n1"))
    await refused(api, "DELETE", f"{slices}?fieldSelector=spec.driver=d.example.com")
    await allowed(api, "DELETE", f"{slices}?fieldSelector=spec.nodeName=n1,spec.driver=d.example.com")
    assert [each["metadata"]["name"] for each in (await api.get(slices))["items"]] == ["n2"]
