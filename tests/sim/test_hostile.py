"""What somebody writes into statuses and annotations that are not his: controllers and nodes go on, and put it right."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import daemons, trees
from tests.sim.trees import Tree

NUMBERS = ["²", "-1", "1e5", "9" * 5000, "99999999999999999999"]
BARE: list[Any] = [
    None,
    [],
    [{}],
    [{"type": "Ready"}],
    [{"type": "Progressing", "status": "True"}],
    [{"status": "True"}],
]


@pytest.fixture
def cluster(caplog: pytest.LogCaptureFixture) -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made
        stumbled = [r.getMessage() for r in caplog.records if r.exc_info]
        assert stumbled == []


def write(cluster: Cluster, what: str, status: Tree) -> None:
    cluster.patch(what, {"status": status}, subresource="status")


@pytest.mark.parametrize("bare", BARE)
def test_conditions_that_say_little(cluster: Cluster, bare: Any) -> None:
    """Of a pod, a node, a Deployment, a Job and a budget: their keepers say again what is so."""
    cluster.create(trees.deployment(2))
    cluster.create(trees.job("sum", orders={"run_seconds": "30"}))
    selector = {"matchLabels": {"app": "web"}}
    cluster.create(trees.tree("policy/v1", "PodDisruptionBudget", "b", spec={"minAvailable": 0, "selector": selector}))
    cluster.wait_for("deployment/web", "Available")
    one = objects.name(cluster.list("pods", labels="app=web")[0])
    for what in (f"pod/{one}", "node/sampan", "deployment/web", "job/sum", "pdb/b"):
        write(cluster, what, {"conditions": bare})
        cluster.advance(2)
    cluster.patch(
        "deployment/web", {"spec": {"template": trees.template(image="web:2"), "progressDeadlineSeconds": 60}}
    )
    cluster.patch("pdb/b", {"spec": {"minAvailable": "1%"}})
    cluster.advance(90)
    for what, type in (("deployment/web", "Available"), ("pdb/b", "DisruptionAllowed"), ("node/sampan", "Ready")):
        assert conditions.is_true(cluster.get(what) or {}, type), what
    assert conditions.is_true(cluster.get("job/sum") or {}, "Complete")
    assert [trees.image(p) for p in cluster.list("pods", labels="app=web")] == ["web:2"] * 2


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_none(cluster: Cluster, number: str) -> None:
    """A revision, a size, an index and a count that nobody can read, or that are far too large."""
    cluster.create(trees.deployment(2))
    cluster.create(daemons.daemon_set())
    cluster.create(
        trees.job("sum", orders={"run_seconds": "20"}, completionMode="Indexed", completions=2, backoffLimitPerIndex=1)
    )
    cluster.wait_for("deployment/web", "Available")
    names = ("revision", "desired-replicas", "max-replicas")
    odd = {f"deployment.kubernetes.io/{name}": number for name in names}
    for what in ("deployment/web", cluster.list("rs")[0]):
        cluster.patch(what, {"metadata": {"annotations": odd | {"deprecated.deployment.rollback.to": None}}})
    (worker,) = cluster.list("pods", labels="app=sum")
    notes = ("job-completion-index", "job-index-failure-count")
    cluster.patch(worker, {"metadata": {"annotations": {f"batch.kubernetes.io/{note}": number for note in notes}}})
    cluster.patch("daemonset/log", {"metadata": {"annotations": {"deprecated.daemonset.template.generation": number}}})
    cluster.advance(5)
    cluster.patch("deployment/web", {"spec": {"template": trees.template(image="web:2"), "replicas": 3}})
    daemons.set_image(cluster, "log:2")
    cluster.advance(90)
    found = cluster.get("deployment/web") or {}
    assert found["status"]["updatedReplicas"] == 3 == found["status"]["replicas"]
    assert daemons.counts(cluster) == daemons.everywhere(2)
    assert conditions.is_true(cluster.get("job/sum") or {}, "Complete")


def test_a_wrong_revision_to_go_back_to(cluster: Cluster) -> None:
    """It is no wish at all where nobody can read it."""
    cluster.create(trees.deployment(1))
    cluster.wait_for("deployment/web", "Available")
    cluster.patch("deployment/web", {"metadata": {"annotations": {"deprecated.deployment.rollback.to": "²"}}})
    cluster.patch("deployment/web", {"spec": {"template": trees.template(image="web:2")}})
    cluster.run_until(lambda: [trees.image(p) for p in cluster.list("pods")] == ["web:2"], within=60)


def test_a_nodes_conditions_without_a_name(cluster: Cluster) -> None:
    """The node keeps telling its own."""
    write(cluster, "node/sampan-2", {"conditions": [{"status": "True"}]})
    cluster.advance(60)
    found = cluster.get("node/sampan-2") or {}
    assert conditions.is_true(found, "Ready")
    cluster.create(trees.pod("one", nodeName=objects.name(found)))
    cluster.wait_for("pod/one", "Ready")


@pytest.mark.parametrize("statuses", [None, [], [{}], [{"restartCount": 3}], [{"name": "other"}]])
def test_containers_without_a_name(cluster: Cluster, statuses: Any) -> None:
    """A node tells again what its containers do, and controllers that read it meanwhile do not mind."""
    cluster.create(trees.replica_set(2))
    policy = {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3]}}]}
    cluster.create(trees.job("sum", orders={"run_seconds": "10"}, podFailurePolicy=policy))
    cluster.run_until(lambda: len([p for p in cluster.list("pods") if conditions.is_true(p, "Ready")]) == 3, within=30)
    for name in trees.by_name(cluster.list("pods")):
        write(cluster, f"pod/{name}", {"containerStatuses": statuses, "initContainerStatuses": statuses})
    cluster.scale("rs/web", 1)
    cluster.wait_for("job/sum", "Complete")
    cluster.run_until(lambda: len(cluster.list("pods", labels="app=web")) == 1, within=60)
    (left,) = cluster.list("pods", labels="app=web")
    assert [s["name"] for s in left["status"]["containerStatuses"]] == ["main"]


def test_a_node_without_addresses_has_no_figures(cluster: Cluster) -> None:
    """For a moment: it tells them again."""
    target = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    cluster.create(trees.replica_set(1))
    spec = {"scaleTargetRef": target, "maxReplicas": 3}
    cluster.create(trees.tree("autoscaling/v2", "HorizontalPodAutoscaler", "web", spec=spec))
    cluster.crash_node("sampan-2")
    write(cluster, "node/sampan-2", {"addresses": [{}]})
    cluster.advance(60)
    assert conditions.is_true(cluster.get("hpa/web") or {}, "AbleToScale")


def test_a_revision_that_lost_its_labels(cluster: Cluster) -> None:
    """It is nobody's, but holds the name and the template of one to go back to: pods are rolled all the same."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 2)
    (revision,) = cluster.list("controllerrevision")
    cluster.patch(revision, {"metadata": {"labels": None}})
    cluster.advance(30)
    for image in ("log:2", "log:1"):
        daemons.set_image(cluster, image)
        cluster.run_until(lambda image=image: daemons.images(cluster) == [image] * 2, within=120)  # type: ignore[misc]
