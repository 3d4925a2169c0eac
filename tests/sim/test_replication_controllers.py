"""ReplicationControllers in virtual time: the conformance tests of upstream, and what comes of a controller that dies."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.faults import Faults
from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

RC = "replicationcontroller/web"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def controller(replicas: int = 2, app: str = "web", **spec: Any) -> Tree:
    wanted = {"replicas": replicas, "selector": {"app": app}, "template": trees.template(app)}
    return trees.tree("v1", "ReplicationController", app, spec=wanted | spec)


def status(cluster: Cluster) -> Tree:
    found: Tree = (cluster.get(RC) or {}).get("status") or {}
    return found


def settled(cluster: Cluster, count: int) -> None:
    def is_so() -> bool:
        told = [status(cluster).get(field, 0) for field in ("replicas", "readyReplicas", "availableReplicas")]
        return told == [count] * 3 and len(cluster.list("pods")) == count

    cluster.run_until(is_so, within=60)


def events(cluster: Cluster, reason: str) -> list[str]:
    return sorted(e["message"] for e in cluster.events(RC) if e["reason"] == reason)


# Upstream's conformance: 145, 147, 146, 149, 150; 57, 58, 62


def test_a_matching_pod_is_adopted(cluster: Cluster) -> None:
    """It counts, so none is made."""
    cluster.create(trees.pod("lonely", {"app": "web"}))
    cluster.create(controller(1))
    settled(cluster, 1)
    owner = objects.controller_of(cluster.get("pod/lonely") or {}) or {}
    assert (owner["kind"], owner["name"], owner["apiVersion"]) == ("ReplicationController", "web", "v1")


def test_a_pod_that_matches_no_more_is_released_and_replaced(cluster: Cluster) -> None:
    """Its label was changed; its owner reference goes."""
    cluster.create(controller(1))
    settled(cluster, 1)
    (first,) = cluster.list("pods")
    cluster.patch(first, {"metadata": {"labels": {"app": "debug"}}})
    cluster.run_until(lambda: len(cluster.list("pods")) == 2, within=30)
    assert objects.controller_of(cluster.get(first) or {}) is None


def test_scale_is_a_door_of_its_own(cluster: Cluster) -> None:
    """Read, replaced and patched."""
    cluster.create(controller(1))
    settled(cluster, 1)
    client, kind = cluster.client, next(k for k in cluster.kinds if k.name == "ReplicationController")
    path = kind.path("default", "web") + "/scale"
    scale = cluster.run(client.call("GET", path))
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "app=web"})
    cluster.run(client.call("PUT", path, body={**scale, "spec": {"replicas": 2}}))
    settled(cluster, 2)
    assert cluster.scale(RC, 4)["spec"] == {"replicas": 4}
    settled(cluster, 4)


def test_a_quota_that_is_used_up_shows_until_less_is_wanted(cluster: Cluster) -> None:
    """As ReplicaFailure, and as an event; with two replicas it is content."""
    cluster.create(trees.tree("v1", "ResourceQuota", "few", spec={"hard": {"pods": "2"}}))
    cluster.advance(1)
    cluster.create(controller(3))
    cluster.run_until(lambda: conditions.is_true(status(cluster), "ReplicaFailure"), within=30)
    found = conditions.get(status(cluster), "ReplicaFailure") or {}
    assert found["reason"] == "FailedCreate"
    assert "exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2" in found["message"]
    assert all(text.startswith('Error creating: pods "web-') for text in events(cluster, "FailedCreate"))
    assert events(cluster, "FailedCreate")
    cluster.scale(RC, 2)
    cluster.run_until(lambda: conditions.get(status(cluster), "ReplicaFailure") is None, within=30)
    settled(cluster, 2)


def test_a_life(cluster: Cluster) -> None:
    """Created, labelled, its status patched, scaled, and deleted with all others of its label."""
    made = cluster.create(controller(1))
    settled(cluster, 1)
    assert [e["source"] for e in cluster.events(RC)] == [{"component": "replication-controller"}]
    (pod,) = cluster.list("pods")
    assert events(cluster, "SuccessfulCreate") == [f"Created pod: {objects.name(pod)}"]
    cluster.patch(RC, {"metadata": {"labels": {"test": "patched"}}})
    cluster.patch(RC, {"status": {"readyReplicas": 0, "availableReplicas": 0}}, subresource="status")
    settled(cluster, 1)
    cluster.scale(RC, 2)
    settled(cluster, 2)
    cluster.scale(RC, 1)
    settled(cluster, 1)
    assert len(events(cluster, "SuccessfulDelete")) == 1
    assert objects.uid(cluster.list("rc", labels="test=patched")[0]) == objects.uid(made)
    cluster.delete(RC, propagation="Background")
    cluster.run_until(lambda: not cluster.list("rc") and not cluster.list("pods"), within=60)


@pytest.mark.parametrize(("policy", "left"), [("Background", 0), ("Foreground", 0), ("Orphan", 3)])
def test_it_is_deleted_as_asked(cluster: Cluster, policy: str, left: int) -> None:
    """In the foreground it stays until its pods are gone; orphans stay, without an owner."""
    cluster.create(controller(3))
    settled(cluster, 3)
    seen: list[tuple[bool, int]] = []
    cluster.sim.observe(lambda change: seen.append((cluster.get(RC) is not None, len(cluster.list("pods")))))
    cluster.delete(RC, propagation=policy)
    cluster.run_until(lambda: cluster.get(RC) is None and len(cluster.list("pods")) == left, within=60)
    cluster.advance(30)
    assert [objects.owner_references(p) for p in cluster.list("pods")] == [[]] * left
    if policy == "Foreground":
        assert (False, 0) in seen
        assert all(not count for is_there, count in seen if not is_there)


def test_two_owners_of_which_one_waits(cluster: Cluster) -> None:
    """Half of the pods also belong to a second one: these stay when the first is deleted in the foreground."""
    first = cluster.create(controller(4))
    settled(cluster, 4)
    second = cluster.create(controller(0, "stay"))
    kept = trees.by_name(cluster.list("pods"))[:2]
    for name in kept:
        references = objects.owner_references(cluster.get(f"pod/{name}") or {})
        both = [*references, trees.owner(second)]
        cluster.patch(f"pod/{name}", {"metadata": {"ownerReferences": both}})
    cluster.delete(RC, propagation="Foreground")
    cluster.run_until(lambda: cluster.get(RC) is None, within=60)
    cluster.advance(30)
    assert trees.by_name(cluster.list("pods")) == kept
    owners = [r["uid"] for name in kept for r in objects.owner_references(cluster.get(f"pod/{name}") or {})]
    assert owners == [objects.uid(second)] * 2
    assert objects.uid(first) not in owners


# Faults


@pytest.mark.parametrize("number", range(1, 13))
def test_killed_at_any_write_it_comes_to_the_same(cluster: Cluster, number: int) -> None:
    """Three pods in the end, then one, and never two pods more than wanted."""
    faults = Faults(cluster.sim)
    with faults.late_watches(0.2):
        cluster.create(controller(3))
        faults.crash_at_write(number, back_after=1)
        cluster.advance(20)
        cluster.scale(RC, 1)
        faults.crash_at_write(number, back_after=1)
        cluster.advance(20)
    faults.end()
    settled(cluster, 1)
    made = [c for c in cluster.sim.history if c.resource == "pods" and c.type == "ADDED"]
    assert 3 <= len(made) <= 4
