"""The cluster's own controllers in virtual time: endpoints, nodes, namespaces, garbage, events."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.meta import conditions, objects
from tests.sim import trees
from tests.sim.trees import Tree

LOST = "sampan-2"


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


@pytest.fixture
def pair() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1, nodes=2) as made:
        yield made


# Endpoints


def service(**spec: Any) -> Tree:
    wanted = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return trees.tree("v1", "Service", "web", spec=wanted | spec)


def slices(cluster: SimulatedCluster) -> list[Tree]:
    return [s for s in cluster.list(ENDPOINTSLICE, "default") if s["metadata"]["name"] != "kubernetes"]


def endpoints(cluster: SimulatedCluster) -> dict[str, tuple[bool, bool, bool]]:
    """Pod -> (ready, serving, terminating)."""
    found = [e for s in slices(cluster) for e in s.get("endpoints") or ()]
    states = ("ready", "serving", "terminating")
    return {e["targetRef"]["name"]: tuple(e["conditions"][s] for s in states) for e in found}  # type: ignore[misc]


def test_endpoints_follow_readiness_and_the_selector(cluster: SimulatedCluster) -> None:
    """Not ready, ready, not selected any more, and gone with the service."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "initialDelaySeconds": 10, "periodSeconds": 1}
    cluster.create(service())
    slow = [{"name": "main", "image": "web:1", "readinessProbe": probe}]
    cluster.create(trees.pod("a", {"app": "web"}, containers=slow))
    cluster.create(trees.pod("b", {"app": "other"}))
    cluster.advance(5)
    assert endpoints(cluster) == {"a": (False, False, False)}
    cluster.advance(10)
    assert endpoints(cluster) == {"a": (True, True, False)}
    cluster.patch(SERVICE, "web", "default", {"spec": {"selector": {"app": "other"}}})
    cluster.advance(1)
    assert endpoints(cluster) == {"b": (True, True, False)}
    (only,) = slices(cluster)
    assert only["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert objects.labels(only)["kubernetes.io/service-name"] == "web"
    cluster.delete(SERVICE, "web", "default")
    cluster.run_until(lambda: not slices(cluster), within=30)


def test_a_terminating_endpoint_says_so(pair: SimulatedCluster) -> None:
    """While its node can't end it, it serves no more as ready."""
    pair.create(service())
    pair.create(trees.pod("a", {"app": "web"}, nodeName=LOST))
    pair.advance(5)
    pair.stop_node(LOST)
    pair.delete(POD, "a", "default")
    pair.advance(1)
    assert endpoints(pair) == {"a": (False, True, True)}


def test_a_port_name_may_mean_different_numbers(cluster: SimulatedCluster) -> None:
    """Each number has its own slice; a headless service has a label and host names."""
    cluster.create(service(clusterIP="None", ports=[{"name": "http", "port": 80, "targetPort": "http"}]))
    for name, number in (("a", 8080), ("b", 9090)):
        ports = [{"name": "http", "containerPort": number}]
        containers = [{"name": "main", "image": "web:1", "ports": ports}]
        cluster.create(trees.pod(name, {"app": "web"}, containers=containers, hostname=name, subdomain="web"))
    cluster.advance(5)
    found = {s["ports"][0]["port"]: [e["hostname"] for e in s["endpoints"]] for s in slices(cluster)}
    assert found == {8080: ["a"], 9090: ["b"]}
    assert all("service.kubernetes.io/headless" in objects.labels(s) for s in slices(cluster))


def test_many_endpoints_are_split_and_move_little(cluster: SimulatedCluster) -> None:
    """At most 100 in a slice; one pod less changes one slice."""
    cluster.create(service())
    cluster.create(trees.replica_set(105))
    cluster.run_until(lambda: sum(ready for ready, _, _ in endpoints(cluster).values()) == 105, within=120)
    cluster.advance(5)
    sizes = [len(s["endpoints"]) for s in slices(cluster)]  # those that came last fit into the first, or not
    assert (len(sizes), sum(sizes)) == (2, 105) and max(sizes) <= 100
    before = {objects.name(s): objects.resource_version(s) for s in slices(cluster)}
    cluster.patch(REPLICASET, "web", "default", {"spec": {"replicas": 104}})
    cluster.advance(10)
    after = {objects.name(s): objects.resource_version(s) for s in slices(cluster)}
    assert before.keys() == after.keys()
    assert sum(before[name] != version for name, version in after.items()) == 1


# Nodes


def taints(cluster: SimulatedCluster, name: str = LOST) -> set[tuple[str, str]]:
    found = cluster.get(NODE, name)
    return {(t["key"].rpartition("/")[2], t["effect"]) for t in (found or {}).get("spec", {}).get("taints") or ()}


def test_pods_leave_a_silent_node_when_their_patience_ends(pair: SimulatedCluster) -> None:
    """Five seconds, the default of 300, or never; each with its mark and event."""
    tolerate = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    pair.create(trees.pod("short", nodeName=LOST, tolerations=[tolerate | {"tolerationSeconds": 5}]))
    pair.create(trees.pod("usual", nodeName=LOST))
    pair.create(trees.pod("patient", nodeName=LOST, tolerations=[tolerate]))
    pair.advance(5)
    pair.stop_node(LOST)
    pair.run_until(lambda: bool(taints(pair)), within=120)
    assert taints(pair) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
    ready = trees.condition(pair.get(NODE, LOST), "Ready")
    assert ready == ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    pair.advance(10)
    assert trees.by_name(trees.alive(pair)) == ["patient", "usual"]
    mark = trees.condition(pair.get(POD, "short", "default"), "DisruptionTarget")
    assert mark == ("True", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
    assert trees.events(pair, "TaintManagerEviction", "short") == ["Marking for deletion Pod default/short"]
    assert trees.events(pair, "NodeNotReady", LOST) == [f"Node {LOST} status is now: NodeNotReady"]
    pair.advance(300)
    assert trees.by_name(trees.alive(pair)) == ["patient"]


def test_a_node_that_returns_in_time_keeps_its_pods(pair: SimulatedCluster) -> None:
    """The taints go, and nobody was evicted."""
    pair.create(trees.pod("usual", nodeName=LOST))
    pair.advance(5)
    pair.stop_node(LOST)
    pair.run_until(lambda: bool(taints(pair)), within=120)
    assert not conditions.is_true(pair.get(POD, "usual", "default"), "Ready")
    pair.advance(200)
    pair.start_node(LOST)
    pair.run_until(lambda: not taints(pair), within=60)
    pair.advance(400)
    kept = pair.get(POD, "usual", "default")
    assert kept is not None
    assert not objects.is_deleting(kept)
    assert conditions.is_true(kept, "Ready")
    assert set(trees.events(pair, "TaintManagerEviction")) == {"Cancelling deletion of Pod default/usual"}


def test_pods_of_a_removed_node_are_ended(pair: SimulatedCluster) -> None:
    """They fail and go, and are replaced on the other node."""
    pair.create(trees.deployment(4))
    trees.settle(pair)
    pair.stop_node(LOST)
    pair.delete(NODE, LOST)
    assert any(p["spec"]["nodeName"] == LOST for p in pair.list(POD))
    pair.advance(50)
    trees.settle(pair)
    assert {p["spec"]["nodeName"] for p in pair.list(POD)} == {"sampan"}
    marks = [trees.condition(c.tree, "DisruptionTarget") for c in pair.history if c.resource == "pods"]
    assert ("True", "DeletionByPodGC", "PodGC: node no longer exists") in marks


# Namespaces


def test_a_namespace_waits_for_finalizers_and_says_for_which(cluster: SimulatedCluster) -> None:
    """The conditions name kinds, counts and finalizers."""
    cluster.create(trees.tree("v1", "Namespace", "team", namespace=""))
    cluster.advance(1)
    kept = trees.config_map("kept", namespace="team", finalizers=["example.com/keep"])
    cluster.create(kept)
    cluster.create(trees.config_map("free", namespace="team"))
    cluster.delete(NAMESPACE, "team")
    cluster.advance(10)
    found = cluster.get(NAMESPACE, "team")
    assert trees.condition(found, "NamespaceContentRemaining") == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: configmaps. has 1 resource instances",
    )
    assert trees.condition(found, "NamespaceFinalizersRemaining") == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances",
    )
    assert found is not None
    assert found["status"]["phase"] == "Terminating"
    cluster.patch(CONFIGMAP, "kept", "team", {"metadata": {"finalizers": None}})
    cluster.run_until(lambda: cluster.get(NAMESPACE, "team") is None, within=60)
    assert cluster.list(CONFIGMAP, "team") == []
    assert cluster.list(SERVICEACCOUNT, "team") == []


def test_what_each_namespace_has_is_repaired(cluster: SimulatedCluster) -> None:
    """The default service account and the authority, when deleted or changed."""
    cluster.create(trees.tree("v1", "Namespace", "team", namespace=""))
    cluster.advance(1)
    authority = cluster.get(CONFIGMAP, "kube-root-ca.crt", "team")
    assert authority is not None
    account = cluster.get(SERVICEACCOUNT, "default", "team")
    cluster.delete(SERVICEACCOUNT, "default", "team")
    cluster.patch(CONFIGMAP, "kube-root-ca.crt", "team", {"data": {"ca.crt": "another", "more": "x"}})
    cluster.advance(1)
    assert objects.uid(cluster.get(SERVICEACCOUNT, "default", "team") or {}) not in ("", objects.uid(account or {}))
    assert (cluster.get(CONFIGMAP, "kube-root-ca.crt", "team") or {})["data"] == authority["data"]
    cluster.delete(CONFIGMAP, "kube-root-ca.crt", "team")
    cluster.advance(1)
    assert (cluster.get(CONFIGMAP, "kube-root-ca.crt", "team") or {})["data"] == authority["data"]


# Garbage


def exists(cluster: SimulatedCluster, name: str) -> bool:
    return cluster.get(CONFIGMAP, name, "default") is not None


def delete(cluster: SimulatedCluster, name: str, policy: str) -> None:
    cluster.run(cluster.client.delete(CONFIGMAP, ("default", name), propagation=policy))
    cluster.advance(5)


def test_foreground_waits_for_those_that_block(cluster: SimulatedCluster) -> None:
    """A dependent that is held back holds the owner, if it blocks it; else not."""
    root = cluster.create(trees.config_map("root"))
    held = ["example.com/keep"]
    cluster.create(trees.config_map("blocks", trees.owner(root), finalizers=held))
    cluster.create(trees.config_map("lax", trees.owner(root, block=False), finalizers=held))
    delete(cluster, "root", "Foreground")
    assert exists(cluster, "root")
    assert objects.is_deleting(cluster.get(CONFIGMAP, "blocks", "default") or {})
    cluster.patch(CONFIGMAP, "blocks", "default", {"metadata": {"finalizers": None}})
    cluster.advance(5)
    assert [exists(cluster, name) for name in ("root", "blocks", "lax")] == [False, False, True]
    cluster.patch(CONFIGMAP, "lax", "default", {"metadata": {"finalizers": None}})
    assert not exists(cluster, "lax")


def test_orphans_lose_their_reference(cluster: SimulatedCluster) -> None:
    """And stay."""
    root = cluster.create(trees.config_map("root"))
    cluster.create(trees.config_map("child", trees.owner(root)))
    delete(cluster, "root", "Orphan")
    assert not exists(cluster, "root")
    assert objects.owner_references(cluster.get(CONFIGMAP, "child", "default") or {}) == []


@pytest.mark.parametrize("policy", ["Foreground", "Background"])
def test_a_circle_of_owners_goes(cluster: SimulatedCluster, policy: str) -> None:
    """Though each blocks the other."""
    first = cluster.create(trees.config_map("first"))
    second = cluster.create(trees.config_map("second", trees.owner(first)))
    cluster.patch(CONFIGMAP, "first", "default", {"metadata": {"ownerReferences": [trees.owner(second)]}})
    delete(cluster, "first", policy)
    assert not exists(cluster, "first")
    assert not exists(cluster, "second")


def test_one_living_owner_is_enough(cluster: SimulatedCluster) -> None:
    """The reference to the one that went is removed."""
    first = cluster.create(trees.config_map("first"))
    second = cluster.create(trees.config_map("second"))
    cluster.create(trees.config_map("child", trees.owner(first), trees.owner(second)))
    delete(cluster, "first", "Background")
    left = cluster.get(CONFIGMAP, "child", "default")
    assert left is not None
    assert [r["name"] for r in objects.owner_references(left)] == ["second"]


def test_an_owner_that_never_was_takes_its_dependents_along(cluster: SimulatedCluster) -> None:
    """Also when one of that name, but with another uid, is there."""
    cluster.create(trees.config_map("first"))
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "first", "uid": "no-such-uid"}
    cluster.create(trees.config_map("child", ghost))
    cluster.advance(5)
    assert exists(cluster, "first")
    assert not exists(cluster, "child")


def test_a_namespaced_owner_of_something_cluster_wide_proves_nothing(cluster: SimulatedCluster) -> None:
    """Such a reference can't be looked up, so the dependent stays, and an event says why."""
    root = cluster.create(trees.config_map("root"))
    role = trees.tree("rbac.authorization.k8s.io/v1", "ClusterRole", "wide", namespace="", rules=[])
    role["metadata"]["ownerReferences"] = [trees.owner(root)]
    cluster.create(role)
    cluster.advance(5)
    assert cluster.get(CLUSTERROLE, "wide") is not None
    uid = objects.uid(root)
    message = f'ownerRef [v1/ConfigMap, namespace: , name: root, uid: {uid}] does not exist in namespace ""'
    assert trees.events(cluster, "OwnerRefInvalidNamespace", "wide") == [message]


# Events


def test_repeats_are_counted_and_similar_ones_combined(cluster: SimulatedCluster) -> None:
    """Beyond nine that differ only in their text, one stands for all the others."""
    cluster.create(trees.replica_set(20))
    cluster.advance(10)
    found = [e for e in cluster.list(EVENT) if e["reason"] == "SuccessfulCreate"]
    combined = [e for e in found if e["message"].startswith("(combined from similar events): Created pod: web-")]
    assert len(found) == 10
    assert [e["count"] for e in combined] == [11]


# Roles


def test_the_default_roles_are_aggregated_already(cluster: SimulatedCluster) -> None:
    """The controller has nothing to write about them."""
    roles = [change for change in cluster.history if change.resource == "clusterroles.rbac.authorization.k8s.io"]
    assert len(roles) > 50
    assert {change.type for change in roles} == {"ADDED"}
