"""The conformance tests of upstream for pods that need a node, though any that keeps their status will do.

A number is the test's position in upstream's list of conformance tests.
"""

import ipaddress
from collections.abc import Iterator

import pytest

from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects
from sampan.testing import ApiError, Cluster
from tests.sim import trees
from tests.sim.trees import Tree

ALL = POD.path("default")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def run(cluster: Cluster, made: Tree) -> Tree:
    """Creates the pod; returns it as it runs."""
    cluster.create(made)
    return cluster.wait_for(f"pod/{objects.name(made)}", "Ready")


def delete_all(cluster: Cluster, labels: str, grace_seconds: int) -> None:
    body = {"gracePeriodSeconds": grace_seconds}
    cluster.run(cluster.client.call("DELETE", ALL, (("labelSelector", labels),), body=body))


def test_a_generation_of_ones_own_is_no_such(cluster: Cluster) -> None:
    """289: a new pod has the first, whatever it says, and the second once it is asked to go."""
    cluster.behave("web:*", {"stop": "5s"})
    made = trees.pod("gen")
    made["metadata"]["generation"] = 100
    assert objects.generation(cluster.create(made)) == 1
    assert objects.generation(cluster.wait_for("pod/gen", "Ready")) == 1
    deleted = cluster.run(cluster.client.call("DELETE", f"{ALL}/gen", (("gracePeriodSeconds", "60"),)))
    assert objects.generation(deleted) == 2
    assert objects.generation(cluster.get("pod/gen") or {}) == 2


def test_the_node_observes_the_last_of_many_generations(cluster: Cluster) -> None:
    """290: 500 updates in a row, each a generation; status and conditions end at the last one."""
    found = run(cluster, trees.pod("gen", activeDeadlineSeconds=5000))
    for number in range(1, 501):
        found = {**found, "spec": {**found["spec"], "activeDeadlineSeconds": 5000 - number}}
        found = cluster.run(cluster.client.update(POD, {**found, "metadata": {"name": "gen", "namespace": "default"}}))
        assert objects.generation(found) == 1 + number
    cluster.wait_for("pod/gen", lambda p: p["status"].get("observedGeneration") == 501, within=120)
    told = (cluster.get("pod/gen") or {})["status"]["conditions"]
    assert {c["type"]: c.get("observedGeneration") for c in told if c["type"] != "PodScheduled"} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"), 501
    )


def test_what_makes_a_generation(cluster: Cluster) -> None:
    """291: a change of tolerations, deadline or an image; nothing else."""
    made = trees.pod("gen", initContainers=[{"name": "first", "image": "first:1"}])
    cluster.behave("first:*", {"run": "1s"})
    assert objects.generation(run(cluster, made)) == 1
    wanted = [{"key": "foo", "operator": "Equal", "value": "bar", "effect": "NoSchedule"}]
    own = (cluster.get("pod/gen") or {})["spec"]["tolerations"]
    patches: list[tuple[Tree, int]] = [
        ({}, 1),
        ({"spec": {"tolerations": [*own, *wanted]}}, 2),
        ({"spec": {"activeDeadlineSeconds": 5000}}, 3),
        ({"spec": {"containers": [{"name": "main", "image": "web:2"}]}}, 4),
        ({"spec": {"initContainers": [{"name": "first", "image": "first:2"}]}}, 5),
        ({"metadata": {"annotations": {"key": "value"}}}, 5),
        ({"metadata": {"generation": 1}}, 5),
    ]
    for patch, generation in patches:
        assert objects.generation(cluster.patch("pod/gen", patch, type="strategic")) == generation


def test_a_pod_is_submitted_and_removed(cluster: Cluster) -> None:
    """294: watchers see it come, and go within its grace; the last they see of it says when it was to go."""
    assert cluster.list("pods", labels="time=now") == []
    run(cluster, trees.pod("one", {"name": "foo", "time": "now"}))
    assert trees.by_name(cluster.list("pods", labels="time=now")) == ["one"]
    began = cluster.time
    cluster.delete("pod/one", grace_seconds=30)
    cluster.wait_for("pod/one", "deleted", within=60)
    assert cluster.time - began <= 32
    changes = cluster.history("pod/one")
    assert (changes[0].type, changes[-1].type) == ("ADDED", "DELETED")
    last = changes[-1].tree
    assert last["metadata"]["deletionTimestamp"]
    assert last["spec"]["terminationGracePeriodSeconds"] == 30
    assert cluster.list("pods", labels="time=now") == []


def test_a_pods_labels_are_updated(cluster: Cluster) -> None:
    """295: it is found by the new one only, and runs on."""
    found = run(cluster, trees.pod("one", {"name": "foo", "time": "then"}))
    started = found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    changed = {**found, "metadata": {**found["metadata"], "labels": {"name": "foo", "time": "now"}}}
    cluster.run(cluster.client.update(POD, changed))
    assert cluster.list("pods", labels="time=then") == []
    cluster.advance(10)
    (found,) = cluster.list("pods", labels="time=now")
    assert found["status"]["phase"] == "Running"
    assert found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] == started


def test_a_collection_of_pods_is_deleted(cluster: Cluster) -> None:
    """297: those of a label; another one stays."""
    for name in ("test-pod-1", "test-pod-2", "test-pod-3"):
        cluster.create(trees.pod(name, {"type": "Testing"}, terminationGracePeriodSeconds=1, restartPolicy="Never"))
    run(cluster, trees.pod("other"))
    cluster.run_until(lambda: all(conditions.is_true(p, "Ready") for p in cluster.list("pods")), within=60)
    delete_all(cluster, "type=Testing", 1)
    cluster.run_until(lambda: not cluster.list("pods", labels="type=Testing"), within=30)
    assert trees.by_name(cluster.list("pods")) == ["other"]


def test_a_pod_knows_its_hosts_address(cluster: Cluster) -> None:
    """298: that of its node."""
    found = run(cluster, trees.pod("one"))["status"]
    addresses = (cluster.get(f"node/{(cluster.get('pod/one') or {})['spec']['nodeName']}") or {})["status"]["addresses"]
    (own,) = [a["address"] for a in addresses if a["type"] == "InternalIP"]
    assert ipaddress.ip_address(found["hostIP"]) == ipaddress.ip_address(own)
    assert found["hostIPs"] == [{"ip": own}]
    assert found["podIPs"] == [{"ip": found["podIP"]}]


def test_a_pods_status_is_patched(cluster: Cluster) -> None:
    """299: by its door; what the node knows of it stays."""
    before = run(cluster, trees.pod("one"))
    patch = {"status": {"message": "Patched by e2e test", "reason": "E2E"}}
    patched = cluster.patch("pod/one", patch, type="strategic", subresource="status")
    assert patched["status"] == {**before["status"], **patch["status"]}
    assert cluster.patch("pod/one", {"status": {"message": "by no door"}})["status"] == patched["status"]


def test_the_life_of_a_pod_and_of_its_status(cluster: Cluster) -> None:
    """300: patched, its conditions replaced, and deleted with all of its label."""
    static = {"test-pod-static": "true"}
    found = run(cluster, trees.pod("pod-test", static, terminationGracePeriodSeconds=1))
    new = {"containers": [{"name": "main", "image": "web:2"}], "terminationGracePeriodSeconds": 1}
    cluster.patch("pod/pod-test", {"metadata": {"labels": {"test-pod": "patched"}}, "spec": new}, type="strategic")
    found = cluster.get("pod/pod-test") or {}
    assert (objects.labels(found), trees.image(found)) == (static | {"test-pod": "patched"}, "web:2")
    found = cluster.run(cluster.client.call("GET", f"{ALL}/pod-test/status"))
    told = [
        {**c, "status": "False"} if c["type"] in ("Ready", "ContainersReady") else c
        for c in found["status"]["conditions"]
    ]
    replaced = {**found, "status": {**found["status"], "conditions": told}}
    written = cluster.run(cluster.client.call("PUT", f"{ALL}/pod-test/status", body=replaced))
    assert [conditions.is_true(written, type) for type in ("Ready", "ContainersReady")] == [False, False]
    delete_all(cluster, "test-pod-static=true", 1)
    cluster.wait_for("pod/pod-test", "deleted", within=60)
    seen = [c.type for c in cluster.history("pod/pod-test")]
    assert (seen[0], seen[-1], set(seen[1:-1])) == ("ADDED", "DELETED", {"MODIFIED"})
    with pytest.raises(ApiError) as refusal:
        cluster.run(cluster.client.get(POD, "pod-test", "default"))
    assert (refusal.value.code, refusal.value.reason) == (404, "NotFound")
