"""The conformance tests of upstream for resource quotas: each object is captured while it is there, and released.

A number is the test's position in upstream's list of conformance tests.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.kinds.core.resource_quota import RESOURCEQUOTA
from sampan.testing import ApiError, Cluster
from tests.sim import trees
from tests.sim.trees import Tree

HARD = {
    "pods": "5",
    "services": "10",
    "services.nodeports": "1",
    "services.loadbalancers": "1",
    "replicationcontrollers": "10",
    "resourcequotas": "1",
    "cpu": "1",
    "memory": "500Mi",
    "configmaps": "10",
    "secrets": "10",
    "persistentvolumeclaims": "10",
    "requests.storage": "10Gi",
    "ephemeral-storage": "50Gi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
    "count/replicasets.apps": "5",
    "requests.example.com/dongle": "3",
}
DONGLE = "example.com/dongle"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def quota(name: str = "test-quota", hard: Tree = HARD, **spec: Any) -> Tree:
    return trees.tree("v1", "ResourceQuota", name, spec={"hard": hard} | spec)


def status(cluster: Cluster, name: str = "test-quota") -> Tree:
    found: Tree = (cluster.get(RESOURCEQUOTA, name) or {}).get("status") or {}
    return found


def wait_used(cluster: Cluster, wanted: Tree, name: str = "test-quota") -> None:
    """Until the status says so, with every limit of the quota beside it; and it stays so."""

    def is_so() -> bool:
        used = status(cluster, name).get("used") or {}
        return all(used.get(resource) == amount for resource, amount in wanted.items())

    cluster.run_until(is_so, within=60)
    cluster.advance(10)
    assert is_so()
    assert status(cluster, name)["hard"] == (cluster.get(RESOURCEQUOTA, name) or {})["spec"]["hard"]


def pod(name: str, requests: Tree | None = None, limits: Tree | None = None, **spec: Any) -> Tree:
    """One that no node takes, so that only the quota is about it."""
    made = trees.pod(name, nodeSelector={"x-test.k8s.io/unsatisfiable": "not-schedulable"}, **spec)
    made["spec"]["containers"][0]["resources"] = {"requests": requests or {}, "limits": limits or {}}
    return made


def refused(cluster: Cluster, obj: Tree, message: str) -> None:
    with pytest.raises(ApiError, match=message) as refusal:
        cluster.create(obj)
    assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")


def test_a_status_is_ones_own_until_it_is_counted_again(cluster: Cluster) -> None:
    """74: updated and patched by its door, read there, and put right within six minutes; the spec stays."""
    began = len(cluster.history())
    cluster.create(quota("rq", {"cpu": "500m", "memory": "500Mi"}))
    path = RESOURCEQUOTA.path("default", "rq", "status")
    found = cluster.run(cluster.client.call("GET", path))
    body = {**found, "status": {"hard": found["spec"]["hard"]}}
    assert cluster.run(cluster.client.call("PUT", path, body=body))["status"]["hard"] == found["spec"]["hard"]
    cluster.patch("resourcequota/rq", {"spec": {"hard": {"cpu": "1", "memory": "1Gi"}}}, type="strategic")
    for hard in ({"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "2Gi"}):
        patched = cluster.patch("resourcequota/rq", {"status": {"hard": hard}}, type="strategic", subresource="status")
        assert (patched["status"]["hard"], patched["spec"]["hard"]) == (hard, {"cpu": "1", "memory": "1Gi"})
    seen = [c.tree.get("status", {}).get("hard") for c in cluster.history()[began:] if c.resource == "resourcequotas"]
    shown = [hard for index, hard in enumerate(seen) if hard and hard not in seen[:index]]
    assert shown == [{"cpu": cpu, "memory": memory} for cpu, memory in (("500m", "500Mi"), ("1", "1Gi"), ("2", "2Gi"))]
    assert cluster.run(cluster.client.call("GET", path))["spec"]["hard"] == {"cpu": "1", "memory": "1Gi"}
    cluster.run_until(lambda: status(cluster, "rq")["hard"] == {"cpu": "1", "memory": "1Gi"}, within=360)
    assert status(cluster, "rq")["used"] == {"cpu": "0", "memory": "0"}


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_the_life_of_one_without_more_than_a_number(cluster: Cluster, kind: str) -> None:
    """76 and 80: with those that each namespace has, up to the last one that is allowed."""
    name = kind.lower() + "s"
    there = len(cluster.list(kind, "default"))
    cluster.create(quota(hard={**HARD, name: str(there + 1)}))
    wait_used(cluster, {"resourcequotas": "1", name: str(there)})
    cluster.create(trees.tree("v1", kind, "one"))
    wait_used(cluster, {"resourcequotas": "1", name: str(there + 1)})
    text = f"exceeded quota: test-quota, requested: {name}=1, used: {name}={there + 1}, limited: {name}={there + 1}"
    refused(cluster, trees.tree("v1", kind, "two"), text)
    cluster.delete(kind, "one")
    wait_used(cluster, {name: str(there)})


def test_the_life_of_a_pod(cluster: Cluster) -> None:
    """77: its requests count, extended ones too; no other one that takes more than is left, and no change of requests."""
    cluster.create(quota())
    wait_used(cluster, {"resourcequotas": "1"})
    dongles = {DONGLE: "2"}
    takes = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi"}
    cluster.create(pod("test-pod", takes | dongles, dongles))
    used = {"resourcequotas": "1", "pods": "1", **takes, f"requests.{DONGLE}": "2"}
    wait_used(cluster, used)
    refused(cluster, pod("fail", {"cpu": "600m", "memory": "100Mi", "ephemeral-storage": "1Gi"}), "requested: cpu=600m")
    refused(cluster, pod("none", {"cpu": "1m"}), "must specify memory for: main")
    more = {"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "30Gi"}
    text = f"requested: ephemeral-storage=30Gi,requests.{DONGLE}=2, used: ephemeral-storage=30Gi,requests.{DONGLE}=2"
    refused(cluster, pod("fail-too", more | dongles, dongles), text)
    made = cluster.get("pod/test-pod") or {}
    (container,) = made["spec"]["containers"]
    less = {"requests": {"cpu": "100m", "memory": "100Mi", "ephemeral-storage": "10Gi"}}
    changed = {**made, "spec": {**made["spec"], "containers": [{**container, "resources": less}]}}
    with pytest.raises(ApiError, match="pod updates may not change fields other than"):
        cluster.run(cluster.client.call("PUT", "/api/v1/namespaces/default/pods/test-pod", body=changed))
    wait_used(cluster, used)
    cluster.delete("pod/test-pod", grace_seconds=0)
    wait_used(cluster, dict.fromkeys(used, "0") | {"resourcequotas": "1"})


@pytest.mark.parametrize(
    ("kind", "name"), [("ReplicaSet", "count/replicasets.apps"), ("ReplicationController", "replicationcontrollers")]
)
def test_the_life_of_one_that_has_pods(cluster: Cluster, kind: str, name: str) -> None:
    """78 and 79: it counts itself, though it wants none."""
    cluster.create(quota())
    wait_used(cluster, {"resourcequotas": "1", name: "0"})
    made = trees.replica_set(0, "one")
    if kind == "ReplicationController":
        made |= {"apiVersion": "v1", "kind": kind, "spec": made["spec"] | {"selector": {"app": "one"}}}
    cluster.create(made)
    wait_used(cluster, {name: "1"})
    cluster.delete(kind, "one", propagation="Background")
    wait_used(cluster, {name: "0"})


def test_the_life_of_a_service(cluster: Cluster) -> None:
    """81: one for a balancer would take one node port too many."""
    cluster.create(quota())
    wait_used(cluster, {"resourcequotas": "1", "services": "1"})  # kubernetes is in this namespace

    def service(name: str, type: str, **spec: Any) -> Tree:
        return trees.tree("v1", "Service", name, spec={"type": type, "ports": [{"port": 80}]} | spec)

    cluster.create(service("plain", "ClusterIP"))
    cluster.create(service("np", "NodePort"))
    text = "requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"
    refused(cluster, service("lb", "LoadBalancer", allocateLoadBalancerNodePorts=True), text)
    wait_used(cluster, {"services": "3", "services.nodeports": "1", "services.loadbalancers": "0"})
    cluster.create(service("bare", "LoadBalancer", allocateLoadBalancerNodePorts=False))
    wait_used(cluster, {"services": "4", "services.nodeports": "1", "services.loadbalancers": "1"})
    for name in ("plain", "np", "bare"):
        cluster.delete("service", name)
    wait_used(cluster, {"services": "1", "services.nodeports": "0", "services.loadbalancers": "0"})


def test_a_status_is_calculated_promptly(cluster: Cluster) -> None:
    """82: it counts itself, and says 0 of all that there is none of."""
    cluster.create(quota())
    cluster.advance(1)
    there = {"resourcequotas": "1", "configmaps": "1", "services": "1"}
    assert status(cluster) == {"hard": HARD, "used": dict.fromkeys(HARD, "0") | there}


TAKES: dict[str, Any] = {
    "requests": {"cpu": "500m", "memory": "200Mi"},
    "limits": {"cpu": "1", "memory": "400Mi"},
}


def exclusively(cluster: Cluster, made: Tree, quotas: tuple[str, str], used: Tree) -> None:
    """The pod is captured by the first quota and ignored by the second, until it is deleted."""
    cluster.create(made)
    none = dict.fromkeys(used, "0")
    wait_used(cluster, used, quotas[0])
    wait_used(cluster, none, quotas[1])
    cluster.delete(f"pod/{made['metadata']['name']}", grace_seconds=0)
    wait_used(cluster, none, quotas[0])


def test_pods_of_best_effort_and_others(cluster: Cluster) -> None:
    """84."""
    for scope in ("BestEffort", "NotBestEffort"):
        cluster.create(quota(scope.lower(), {"pods": "5"}, scopes=[scope]))
        wait_used(cluster, {"pods": "0"}, scope.lower())
    exclusively(cluster, pod("idle"), ("besteffort", "notbesteffort"), {"pods": "1"})
    exclusively(cluster, pod("burstable-pod", **TAKES), ("notbesteffort", "besteffort"), {"pods": "1"})


def test_pods_with_a_deadline_and_others(cluster: Cluster) -> None:
    """85: with what they request and what limits them."""
    hard = {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"}
    for scope in ("Terminating", "NotTerminating"):
        cluster.create(quota(scope.lower(), hard, scopes=[scope]))
        wait_used(cluster, dict.fromkeys(hard, "0"), scope.lower())
    used = {f"{what}.{name}": amount for what, amounts in TAKES.items() for name, amount in amounts.items()}
    used["pods"] = "1"
    exclusively(cluster, pod("test-pod", **TAKES), ("notterminating", "terminating"), used)
    ends = pod("terminating-pod", **TAKES, activeDeadlineSeconds=3600)
    exclusively(cluster, ends, ("terminating", "notterminating"), used)
