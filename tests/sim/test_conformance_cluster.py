"""The conformance tests of upstream for garbage, namespaces, taints and lost nodes, and for how long endpoints take.

A number is the test's position in upstream's list of conformance tests.
"""

from collections.abc import Iterator

import pytest

from sampan.controllers import pod_gc
from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

EVICT = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def ready(cluster: Cluster) -> list[Tree]:
    return [p for p in cluster.list("pods", "default") if conditions.is_true(p, "Ready")]


# Garbage


def test_a_deployment_is_deleted_with_its_replica_sets(cluster: Cluster) -> None:
    """56: unless told otherwise."""
    cluster.create(trees.deployment(2))
    cluster.run_until(lambda: len(ready(cluster)) == 2, within=60)
    cluster.delete("deployment/web")
    cluster.run_until(lambda: not [*cluster.list("deploy"), *cluster.list("rs"), *cluster.list("pods")], within=60)


def test_orphans_of_a_deployment_stay_as_they_are(cluster: Cluster) -> None:
    """61."""
    cluster.create(trees.deployment(2))
    cluster.run_until(lambda: len(ready(cluster)) == 2, within=60)
    pods = trees.by_name(cluster.list("pods"))
    cluster.delete("deployment/web", propagation="Orphan")
    cluster.wait_for("deployment/web", "deleted")
    cluster.advance(60)
    assert [objects.owner_references(r) for r in cluster.list("rs")] == [[]]
    assert trees.by_name(ready(cluster)) == pods


def test_pods_that_own_each_other_in_a_circle_go(cluster: Cluster) -> None:
    """59: one is deleted, and the others follow."""
    made = [cluster.create(trees.pod(name)) for name in ("pod1", "pod2", "pod3")]
    for name, of in zip(("pod1", "pod2", "pod3"), (made[2], made[0], made[1]), strict=True):
        reference = {**trees.owner(of), "controller": True}
        cluster.patch(f"pod/{name}", {"metadata": {"ownerReferences": [reference]}})
    cluster.delete("pod/pod1", propagation="Foreground")
    cluster.run_until(lambda: not cluster.list("pods"), within=90)


def test_an_owner_in_another_namespace_is_none(cluster: Cluster) -> None:
    """The object goes, and it is told why."""
    cluster.create(trees.tree("v1", "Namespace", "team", namespace=""))
    cluster.advance(1)
    owner = cluster.create(trees.tree("v1", "ConfigMap", "owner", namespace="team"))
    cluster.create(trees.config_map("child", trees.owner(owner)))
    cluster.wait_for("cm/child", "deleted")
    (told,) = cluster.events("cm/child")
    where = f"[v1/ConfigMap, namespace: default, name: owner, uid: {objects.uid(owner)}]"
    assert (told["type"], told["reason"]) == ("Warning", "OwnerRefInvalidNamespace")
    assert told["message"] == f'ownerRef {where} does not exist in namespace "default"'
    assert cluster.get("cm/owner", namespace="team")


# Namespaces


def namespace(cluster: Cluster, *content: Tree) -> None:
    cluster.create(trees.tree("v1", "Namespace", "team", namespace=""))
    cluster.advance(1)
    for obj in content:
        cluster.create({**obj, "metadata": {**obj["metadata"], "namespace": "team"}})
    cluster.advance(5)


@pytest.mark.parametrize("kind", ["Pod", "Service"])
def test_what_was_in_a_namespace_does_not_come_back(cluster: Cluster, kind: str) -> None:
    """70 and 71: a namespace of the same name is empty."""
    service = trees.tree("v1", "Service", "one", spec={"ports": [{"port": 80}]})
    namespace(cluster, {"Pod": trees.pod("one"), "Service": service}[kind])
    cluster.delete("namespace/team")
    cluster.wait_for("namespace/team", "deleted", within=120)
    cluster.create(trees.tree("v1", "Namespace", "team", namespace=""))
    cluster.advance(5)
    assert cluster.list(kind, "team") == []


def test_pods_go_before_everything_else(cluster: Cluster) -> None:
    """73: what a pod that is held back may still need is there as long as it is, and the conditions tell why."""
    held = trees.pod("held")
    held["metadata"]["finalizers"] = ["e2e.example.com/finalizer"]
    namespace(cluster, held, trees.config_map("needed"))
    cluster.delete("namespace/team")
    cluster.run_until(lambda: objects.is_deleting(cluster.get("pod/held", namespace="team") or {}), within=60)
    cluster.advance(60)
    assert not objects.is_deleting(cluster.get("cm/needed", namespace="team") or {})
    found = cluster.get("namespace/team")
    text = "Some resources are remaining: pods. has 1 resource instances"
    assert trees.condition(found, "NamespaceContentRemaining") == ("True", "SomeResourcesRemain", text)
    text = "All content successfully deleted, may be waiting on finalization"
    assert trees.condition(found, "NamespaceDeletionContentFailure") == ("False", "ContentDeleted", text)
    cluster.patch("pod/held", {"metadata": {"finalizers": None}}, namespace="team")
    cluster.wait_for("namespace/team", "deleted", within=120)


def test_a_namespace_goes_with_its_last_pod(cluster: Cluster) -> None:
    """It isn't looked at now and then only: whoever waits for its end need not wait for the next look."""
    held = trees.pod("held")
    held["metadata"]["finalizers"] = ["e2e.example.com/finalizer"]
    namespace(cluster, held, trees.config_map("needed"))
    cluster.delete("namespace/team")
    cluster.run_until(lambda: objects.is_deleting(cluster.get("pod/held", namespace="team") or {}), within=60)
    cluster.advance(60.1)
    cluster.patch("pod/held", {"metadata": {"finalizers": None}}, namespace="team")
    cluster.wait_for("namespace/team", "deleted", within=0.2)


def test_what_is_gone_does_not_remain(cluster: Cluster) -> None:
    """Content that goes at once is never told of; what somebody else wants of the namespace does not matter for that."""
    namespace(cluster, trees.config_map("one"))
    found = cluster.get("namespace/team") or {}
    spec = {"finalizers": ["kubernetes", "example.com/own"]}
    cluster.run(cluster.client.call("PUT", "/api/v1/namespaces/team/finalize", body={**found, "spec": spec}))
    cluster.delete("namespace/team")
    cluster.advance(10)
    assert (cluster.get("namespace/team") or {})["spec"] == {"finalizers": ["example.com/own"]}
    said = {trees.condition(c.tree, "NamespaceContentRemaining") for c in cluster.history("namespace/team")}
    assert said == {None, ("False", "ContentRemoved", "All content successfully removed")}
    found = cluster.get("namespace/team") or {}
    assert {c["status"] for c in found["status"]["conditions"]} == {"False"}
    cluster.run(cluster.client.call("PUT", "/api/v1/namespaces/team/finalize", body={**found, "spec": {}}))
    cluster.wait_for("namespace/team", "deleted")


def test_a_pod_that_outlives_its_grace_is_told_of() -> None:
    """Its node is lost, so nobody ends it."""
    with Cluster(seed=1, nodes=2) as cluster:
        namespace(cluster, trees.pod("stuck", nodeName="sampan-2"))
        cluster.crash_node("sampan-2")
        cluster.delete("namespace/team")
        cluster.advance(20)
        told = trees.condition(cluster.get("namespace/team"), "NamespaceDeletionContentFailure") or ("",)
        assert told[0] == "False"
        cluster.advance(20)
        text = "unexpected items still remain in namespace: team for gvr: /v1, Resource=pods"
        message = f"Failed to delete all resource types, 1 remaining: {text}"
        told = trees.condition(cluster.get("namespace/team"), "NamespaceDeletionContentFailure") or ("",)
        assert told == ("True", "ContentDeletionFailed", message)


# Taints


def tolerating(name: str, seconds: int) -> Tree:
    wanted = {name: value for name, value in EVICT.items() if name != "value"} | {"operator": "Exists"}
    return trees.pod(name, tolerations=[{**wanted, "tolerationSeconds": seconds}])


def taint(cluster: Cluster, *taints: Tree) -> None:
    cluster.patch("node/sampan", {"spec": {"taints": list(taints) or None}})


def test_pods_leave_a_tainted_node_each_in_its_time(cluster: Cluster) -> None:
    """277: after 5 seconds and after 20; marked and told of."""
    cluster.create(tolerating("a", 5))
    cluster.create(tolerating("b", 20))
    cluster.run_until(lambda: len(ready(cluster)) == 2, within=30)
    began = cluster.time
    taint(cluster, EVICT)
    left: dict[str, float] = {}
    for name in ("a", "b"):
        cluster.wait_for(f"pod/{name}", "deleted")
        left[name] = round(cluster.time - began)
        marks = [conditions.get(c.tree, "DisruptionTarget") for c in cluster.history(f"pod/{name}")]
        assert {(m["status"], m["reason"]) for m in marks if m} == {("True", "DeletionByTaintManager")}
    assert left == {"a": 5, "b": 20}
    told = [e["message"] for e in cluster.events() if e["reason"] == "TaintManagerEviction"]
    assert told == ["Marking for deletion Pod default/a", "Marking for deletion Pod default/b"]


def test_a_taint_that_goes_in_time_evicts_nobody(cluster: Cluster) -> None:
    """278."""
    cluster.create(tolerating("a", 60))
    cluster.run_until(lambda: ready(cluster), within=30)
    taint(cluster, EVICT)
    cluster.advance(30)
    taint(cluster)
    cluster.advance(120)
    assert trees.by_name(ready(cluster)) == ["a"]
    told = [e["message"] for e in cluster.events("pod/a") if e["reason"] == "TaintManagerEviction"]
    assert told == ["Cancelling deletion of Pod default/a"]


def test_patience_begins_when_the_pod_comes(cluster: Cluster) -> None:
    """A node that was tainted an hour ago keeps a new pod as long as it tolerates that."""
    taint(cluster, {**EVICT, "timeAdded": "2026-01-01T00:00:00Z"})
    cluster.advance(hours=1)
    cluster.create(tolerating("late", 60))
    cluster.run_until(lambda: ready(cluster), within=30)
    cluster.advance(30)
    assert trees.by_name(ready(cluster)) == ["late"]
    cluster.wait_for("pod/late", "deleted", within=35)


# Nodes


def test_a_node_comes_and_goes_with_a_word(cluster: Cluster) -> None:
    """As upstream says it."""
    cluster.add_node("two")
    cluster.advance(5)
    cluster.remove_node("two")
    cluster.advance(5)
    told = {e["reason"]: e["message"] for e in cluster.events("node/two")}
    assert told["RegisteredNode"] == "Node two event: Registered Node two in Controller"
    assert told["RemovingNode"] == "Node two event: Removing Node two from Controller"


def test_when_no_node_is_ready_nobody_is_driven_away() -> None:
    """It is rather the control plane that hears nothing. One that comes back says that the others are lost."""
    with Cluster(seed=1, nodes=2) as cluster:
        cluster.create(trees.pod("one", nodeName="sampan"))
        cluster.create(trees.pod("two", nodeName="sampan-2"))
        cluster.run_until(lambda: len(ready(cluster)) == 2, within=30)
        for name in ("sampan", "sampan-2"):
            cluster.crash_node(name)
        cluster.advance(600)
        effects = [t["effect"] for n in cluster.list("nodes") for t in n["spec"]["taints"]]
        assert effects == ["NoSchedule", "NoSchedule"]
        assert not any(objects.is_deleting(p) for p in cluster.list("pods"))
        cluster.start_node("sampan")
        cluster.run_until(lambda: objects.is_deleting(cluster.get("pod/two") or {}), within=400)
        assert not objects.is_deleting(cluster.get("pod/one") or {})


def test_pods_of_a_node_out_of_service_are_given_up() -> None:
    """Whoever taints it so knows that it is off; its pods that are to go, go."""
    with Cluster(seed=1, nodes=2) as cluster:
        cluster.create(trees.pod("one", nodeName="sampan-2"))
        cluster.run_until(lambda: ready(cluster), within=30)
        cluster.crash_node("sampan-2")
        cluster.wait_for("node/sampan-2", "Ready=Unknown", within=120)
        cluster.delete("pod/one")
        cluster.advance(60)
        assert cluster.get("pod/one")
        found = (cluster.get("node/sampan-2") or {})["spec"]["taints"]
        out = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        cluster.patch("node/sampan-2", {"spec": {"taints": [*found, out]}})
        cluster.wait_for("pod/one", "deleted", within=30)


def test_a_pod_without_a_node_that_is_to_go_has_failed(cluster: Cluster) -> None:
    """It only waits for its finalizers, and nobody else will say so."""
    held = trees.pod("held", nodeSelector={"no": "where"})
    held["metadata"]["finalizers"] = ["example.com/keep"]
    cluster.create(held)
    cluster.advance(5)
    cluster.delete("pod/held")
    cluster.wait_for("pod/held", lambda p: p["status"]["phase"] == "Failed", within=30)


def test_of_very_many_ended_pods_the_oldest_go(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evicted ones first."""
    monkeypatch.setattr(pod_gc, "ENDED_PODS", 3)
    for number in range(5):
        made = trees.pod(f"p{number}", restartPolicy="Never")
        made["metadata"]["annotations"] = {"simulated.sampan.dev/run-seconds": "1"}
        cluster.create(made)
        cluster.wait_for(f"pod/p{number}", lambda p: p["status"]["phase"] == "Succeeded", within=30)
        cluster.advance(2)
    assert trees.by_name(cluster.list("pods")) == ["p2", "p3", "p4"]


# Endpoints


def test_endpoints_do_not_take_long(cluster: Cluster) -> None:
    """220: with many services at once, each has its endpoints within seconds."""
    cluster.create(trees.replica_set(1))
    cluster.run_until(lambda: ready(cluster), within=60)
    began = cluster.time
    for number in range(200):
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        cluster.create(trees.tree("v1", "Service", f"latency-{number}", spec=spec))

    def have() -> int:
        return sum(bool(e.get("subsets")) for e in cluster.list("endpoints", "default")) - 1

    cluster.run_until(lambda: have() == 200, within=20)
    assert cluster.time - began < 20
