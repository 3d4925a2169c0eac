"""Disruption budgets in virtual time: an eviction may take what is allowed, and the next waits for a replacement."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind
from sampan.kinds.policy.pod_disruption_budget import PODDISRUPTIONBUDGET
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from tests.sim import trees
from tests.sim.trees import Tree

WIDGET = Kind("example.com", ("v1",), "Widget", "widgets", custom=True)
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1, nodes=2) as made:
        yield made


def budget(app: str = "web", **spec: Any) -> Tree:
    wanted = {"selector": {"matchLabels": {"app": app}}} | spec
    return trees.tree("policy/v1", "PodDisruptionBudget", "b", spec=wanted)


def status(cluster: SimulatedCluster) -> Tree:
    found = cluster.get(PODDISRUPTIONBUDGET, "b", "default")
    assert found is not None
    return dict(found.get("status") or {})


def evict(cluster: SimulatedCluster, p: Tree) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": objects.name(p)}}
    cluster.run(cluster.client.create_subresource(POD, objects.key(p), "eviction", body))


def start(cluster: SimulatedCluster, **spec: Any) -> None:
    """A deployment of three whose pods take two seconds to be ready, with its budget."""
    made = trees.template()
    probe = {"httpGet": {"path": "/", "port": 80}, "initialDelaySeconds": 2, "periodSeconds": 1}
    made["spec"]["containers"][0]["readinessProbe"] = probe
    cluster.create(trees.deployment(3, template=made))
    cluster.create(budget(**spec))
    trees.settle(cluster)
    cluster.run_until(lambda: status(cluster).get("disruptionsAllowed") == 1, within=5)


def test_the_second_eviction_waits_for_the_replacement(cluster: SimulatedCluster) -> None:
    """One goes; the next is refused with 429 until three pods are ready again, and then goes too."""
    start(cluster, minAvailable=2)
    first, second, _ = trees.alive(cluster)
    evict(cluster, first)
    with pytest.raises(ApiError, match=REFUSED) as refused:
        evict(cluster, second)
    assert refused.value.code == 429
    cluster.run_until(lambda: len(trees.alive(cluster)) == 3, within=5)
    with pytest.raises(ApiError, match=REFUSED):
        evict(cluster, second)
    seen = status(cluster)
    assert (seen["currentHealthy"], seen["desiredHealthy"], seen["disruptionsAllowed"]) == (2, 2, 0)
    assert trees.condition(cluster.get(PODDISRUPTIONBUDGET, "b", "default"), "DisruptionAllowed") == (
        "False",
        "InsufficientPods",
        "",
    )
    cluster.run_until(lambda: status(cluster)["disruptionsAllowed"] == 1, within=30)
    assert all(conditions.is_true(p, "Ready") for p in trees.alive(cluster))
    assert "disruptedPods" not in status(cluster)
    evict(cluster, second)


@pytest.mark.parametrize("spec", [{"minAvailable": 2}, {"maxUnavailable": "25%"}, {"minAvailable": "60%"}], ids=str)
def test_a_drain_ends(cluster: SimulatedCluster, spec: Tree) -> None:
    """Evictions tried again and again empty a node, and two pods are ready at any time."""
    start(cluster, **spec)
    node = trees.alive(cluster)[0]["spec"]["nodeName"]
    cluster.patch(NODE, node, "", {"spec": {"unschedulable": True}})
    ready: list[int] = []
    cluster.observe(lambda change: ready.append(sum(conditions.is_true(p, "Ready") for p in trees.alive(cluster))))
    for _ in range(60):
        here = [p for p in trees.alive(cluster) if p["spec"].get("nodeName") == node]
        if not here:
            break
        for p in here:
            with contextlib.suppress(ApiError):
                evict(cluster, p)
        cluster.advance(5)
    else:
        raise AssertionError("the node still has pods")
    assert min(ready) >= 2
    trees.settle(cluster)
    assert {p["spec"]["nodeName"] for p in trees.alive(cluster)}.isdisjoint({node})


def test_a_pod_that_nobody_deletes_comes_back(cluster: SimulatedCluster) -> None:
    """One noted as evicted that stays counts again after two minutes; its DisruptionTarget is taken back."""
    start(cluster, minAvailable=2)
    p = trees.alive(cluster)[0]
    now = p["metadata"]["creationTimestamp"]
    stale = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": now}
    patch = {"status": {"conditions": [stale]}}
    cluster.run(cluster.client.patch(POD, objects.key(p), patch, type="strategic", subresource="status"))
    noted = cluster.get(PODDISRUPTIONBUDGET, "b", "default")
    assert noted is not None
    wrong = {**noted, "status": {**noted["status"], "disruptedPods": {objects.name(p): now}}}
    cluster.run(cluster.client.update(PODDISRUPTIONBUDGET, wrong, "status"))
    cluster.advance(60)
    assert status(cluster)["currentHealthy"] == 2
    cluster.run_until(lambda: status(cluster)["currentHealthy"] == 3, within=65)
    assert trees.events(cluster, "NotDeleted", objects.name(p)) == [
        "Pod was expected by PDB default/b to be deleted but it wasn't"
    ]
    cluster.run_until(
        lambda: trees.condition(cluster.get(POD, *reversed(objects.key(p))), "DisruptionTarget") == ("False", "", ""),
        within=65,
    )


def verdict(cluster: SimulatedCluster) -> tuple[str, str, str] | None:
    return trees.condition(cluster.get(PODDISRUPTIONBUDGET, "b", "default"), "DisruptionAllowed")


def test_pods_of_a_kind_without_a_scale(cluster: SimulatedCluster) -> None:
    """Pods of a Job: nothing is allowed, and the budget and an event say why."""
    made = trees.job(parallelism=2, orders={"run_seconds": "900"})
    made["spec"]["template"]["metadata"]["labels"] = {"app": "sum"}
    cluster.create(made)
    cluster.run_until(lambda: len(trees.alive(cluster, "sum")) == 2, within=5)
    cluster.create(budget("sum", maxUnavailable=1))
    why = "jobs.batch does not implement the scale subresource"
    cluster.run_until(lambda: verdict(cluster) == ("False", "SyncFailed", why), within=5)
    assert status(cluster)["disruptionsAllowed"] == 0
    cluster.advance(1)
    told = trees.events(cluster, "CalculateExpectedPodCountFailed", "b")
    assert told == [f"Failed to calculate the number of expected pods: {why}"]


def test_pods_of_an_unknown_kind(cluster: SimulatedCluster) -> None:
    """Its name and version are what the budget complains about."""
    made = trees.pod("a", {"app": "web"})
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "w", "controller": True}
    made["metadata"]["ownerReferences"] = [reference]
    cluster.create(made)
    cluster.create(budget(maxUnavailable=1))
    why = 'no matches for kind "Widget" in version "example.com/v1"'
    cluster.run_until(lambda: verdict(cluster) == ("False", "SyncFailed", why), within=5)


def test_pods_of_a_custom_kind(cluster: SimulatedCluster) -> None:
    """Their scale is read, again whenever a pod changes."""
    cluster.create(definition())
    cluster.run_until(
        lambda: conditions.is_true(cluster.get(CUSTOMRESOURCEDEFINITION, "widgets.example.com") or {}, "Established"), 1
    )
    widget = cluster.create(trees.tree("example.com/v1", "Widget", "w", spec={"replicas": 4}))
    for name in ("a", "b", "c"):
        made = trees.pod(name, {"app": "web"})
        made["metadata"]["ownerReferences"] = [objects.owner_reference(widget, block=False)]
        cluster.create(made)
    cluster.create(budget(minAvailable="50%"))
    cluster.run_until(lambda: verdict(cluster) == ("True", "SufficientPods", ""), within=10)
    cluster.advance(5)
    counts = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
    assert [status(cluster)[name] for name in counts] == [4, 2, 3, 1]
    cluster.patch(WIDGET, "w", "default", {"spec": {"replicas": 2}})
    cluster.delete(POD, "a", "default")
    cluster.run_until(lambda: [status(cluster)[name] for name in counts] == [2, 1, 2, 1], within=60)


def definition() -> Tree:
    """Widgets with a scale."""
    replicas = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": replicas, "status": replicas}}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [version | {"subresources": {"scale": scale}}],
    }
    return trees.tree("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com", "", spec=spec)
