"""DaemonSets in virtual time: on which nodes their pods are, which of them are replaced, and what is told of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster import invariants
from sampan.cluster.aim import CONTROLLERS, Aim
from sampan.cluster.faults import Faults
from sampan.meta import objects
from sampan.testing import ApiError, Cluster
from tests import thorough
from tests.sim import daemons, trees

TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=3) as made:
        yield made


def nodes(cluster: Cluster) -> list[str]:
    return [objects.name(node) for node in cluster.list("node")]


def taint(cluster: Cluster, node: str, *taints: dict[str, Any]) -> None:
    cluster.patch(f"node/{node}", {"spec": {"taints": list(taints)}})


def fail(cluster: Cluster, pod: str) -> None:
    """As a kubelet that rejects it, or evicts it."""
    cluster.patch(f"pod/{pod}", {"status": {"phase": "Failed"}}, subresource="status")


def test_every_node_has_one(cluster: Cluster) -> None:
    """A new node gets one too, and where one is deleted another comes; the events say so."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    assert sorted(daemons.by_node(cluster)) == nodes(cluster)
    assert sorted(daemons.events(cluster)) == [
        f"Normal SuccessfulCreate Created pod: {p}" for p in sorted(daemons.by_node(cluster).values())
    ]
    cluster.add_node("late")
    daemons.settle(cluster, 4)
    gone = daemons.by_node(cluster)["late"]
    cluster.delete(f"pod/{gone}")
    daemons.settle(cluster, 4)
    assert daemons.by_node(cluster)["late"] != gone


def test_the_scheduler_places_them(cluster: Cluster) -> None:
    """A pod that finds no room on its node says so, and stays its node's."""
    first = nodes(cluster)[0]
    cpus = int((cluster.get(f"node/{first}") or {})["status"]["allocatable"]["cpu"])
    requests = {"resources": {"requests": {"cpu": str(cpus // 2 + 1)}}}
    big = trees.pod("big", containers=[{"name": "main", "image": "web:1", **requests}], nodeName=first)
    cluster.create(big)
    cluster.create(daemons.daemon_set(pod={"containers": [{"name": "main", "image": "log:1", **requests}]}))
    cluster.advance(30)
    assert daemons.counts(cluster) == {"desired": 3, "current": 3, "updated": 3, "ready": 2, "available": 2}
    waiting = next(p for p in cluster.list("pod") if not p["spec"].get("nodeName"))
    said = trees.condition(waiting, "PodScheduled") or ("", "", "")
    assert said[:2] == ("False", "Unschedulable")
    assert "Insufficient cpu" in said[2]
    cluster.delete("pod/big")
    daemons.settle(cluster, 3)


def test_nodes_that_are_chosen_by_labels(cluster: Cluster) -> None:
    """A node selector and an affinity: pods follow as nodes and the template change."""
    cluster.create(daemons.daemon_set(pod={"nodeSelector": {"color": "blue"}}))
    cluster.advance(5)
    assert [daemons.counts(cluster), daemons.by_node(cluster)] == [{}, {}]
    first, second, _ = nodes(cluster)
    cluster.patch(f"node/{first}", {"metadata": {"labels": {"color": "blue"}}})
    daemons.settle(cluster, 1)
    assert list(daemons.by_node(cluster)) == [first]
    cluster.patch(f"node/{first}", {"metadata": {"labels": {"color": "green"}}})
    cluster.run_until(lambda: not daemons.by_node(cluster) and not daemons.counts(cluster), within=10)
    term = {"matchExpressions": [{"key": "color", "operator": "In", "values": ["green", "red"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    spec = {"nodeSelector": None, "affinity": {"nodeAffinity": required}}
    cluster.patch("daemonset/log", {"spec": {"template": {"spec": spec}}})
    daemons.settle(cluster, 1)
    cluster.patch(f"node/{second}", {"metadata": {"labels": {"color": "red"}}})
    daemons.settle(cluster, 2)
    assert sorted(daemons.by_node(cluster)) == [first, second]


def test_taints(cluster: Cluster) -> None:
    """NoSchedule keeps new pods away and leaves old ones, which count as misscheduled; NoExecute ends them."""
    first, second, third = nodes(cluster)
    taint(cluster, first, TAINT)
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 2)
    taint(cluster, second, TAINT)
    cluster.run_until(lambda: daemons.counts(cluster) == daemons.everywhere(1) | {"misscheduled": 1}, within=5)
    assert sorted(daemons.by_node(cluster)) == [second, third]
    taint(cluster, second, TAINT | {"effect": "NoExecute"})
    cluster.run_until(lambda: daemons.counts(cluster) == daemons.everywhere(1), within=60)
    taint(cluster, first)
    taint(cluster, second)
    daemons.settle(cluster, 3)


def test_what_ails_a_node_is_tolerated(cluster: Cluster) -> None:
    """Daemon pods start on a cordoned node, and stay on one that is lost for good, when other pods are evicted."""
    first, second, _ = nodes(cluster)
    cluster.patch(f"node/{first}", {"spec": {"unschedulable": True}})
    cluster.create(daemons.daemon_set())
    cluster.create(trees.pod("web", nodeName=second))
    daemons.settle(cluster, 3)
    before = daemons.by_node(cluster)
    del before[second]
    cluster.crash_node(second)
    cluster.run_until(lambda: objects.is_deleting(cluster.get("pod/web") or {}), within=600)
    daemon = next(p for p in cluster.list("pod", fields=f"spec.nodeName={second}") if objects.name(p) != "web")
    assert not objects.is_deleting(daemon)
    assert trees.condition(daemon, "Ready")[0] == "False"  # type: ignore[index]
    assert daemons.counts(cluster) == daemons.everywhere(2) | {"misscheduled": 1}  # for new pods it is out of reach
    cluster.start_node(second)
    cluster.run_until(lambda: daemons.counts(cluster) == daemons.everywhere(3), within=300)
    assert before.items() <= daemons.by_node(cluster).items()


def test_a_node_is_removed(cluster: Cluster) -> None:
    """Its pod goes with it, also one that had not got there yet."""
    third = nodes(cluster)[2]
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    cluster.remove_node(third)
    daemons.settle(cluster, 2)
    cluster.run_until(lambda: len(cluster.list("pod")) == 2, within=120)
    requests = {"resources": {"requests": {"cpu": "900"}}}
    changed = {"containers": [{"name": "main", "image": "log:1", **requests}]}
    cluster.patch("daemonset/log", {"spec": {"template": {"spec": changed}, "updateStrategy": {"type": "OnDelete"}}})
    second = nodes(cluster)[1]
    cluster.delete(f"pod/{daemons.by_node(cluster)[second]}")
    cluster.run_until(lambda: "" in daemons.by_node(cluster), within=60)
    cluster.remove_node(second)
    cluster.run_until(lambda: len(cluster.list("pod")) == 1, within=120)
    assert daemons.counts(cluster) == {"desired": 1, "current": 1, "ready": 1, "available": 1}


def test_failed_pods_are_replaced_ever_later(cluster: Cluster) -> None:
    """At once, then after a second, two, four: for this node alone, and each is told."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    node = nodes(cluster)[0]
    waits, before = [], len(daemons.events(cluster))
    for _ in range(5):
        bad, began = daemons.by_node(cluster)[node], cluster.time
        fail(cluster, bad)
        cluster.run_until(lambda bad=bad: cluster.get(f"pod/{bad}") is None, within=60)
        waits.append(round(cluster.time - began))
        daemons.settle(cluster, 3)
        kill = f"Warning FailedDaemonPod Found failed daemon pod default/{bad} on node {node}, will try to kill it"
        new = daemons.by_node(cluster)[node]
        told = [kill, f"Normal SuccessfulDelete Deleted pod: {bad}", f"Normal SuccessfulCreate Created pod: {new}"]
        assert daemons.events(cluster, since=before) == told
        before += 3
    assert waits == [0, 1, 2, 4, 8]
    fail(cluster, daemons.by_node(cluster)[nodes(cluster)[1]])
    cluster.advance(0.5)
    assert daemons.counts(cluster) == daemons.everywhere(3)
    cluster.advance(minutes=31)
    fail(cluster, daemons.by_node(cluster)[node])
    cluster.advance(0.5)
    assert daemons.counts(cluster) == daemons.everywhere(3)


def test_a_pod_that_ended_well_is_replaced(cluster: Cluster) -> None:
    """Which is told as nothing bad."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    node, ended = next(iter(daemons.by_node(cluster).items()))
    cluster.patch(f"pod/{ended}", {"status": {"phase": "Succeeded"}}, subresource="status")
    cluster.run_until(lambda: cluster.get(f"pod/{ended}") is None, within=60)
    daemons.settle(cluster, 3)
    text = f"Normal SucceededDaemonPod Found succeeded daemon pod default/{ended} on node {node}, will try to delete it"
    assert text in daemons.events(cluster)


def test_a_refusal_is_told(cluster: Cluster) -> None:
    """A quota leaves no room: one refusal at a time, not one for each node; and it goes on when there is room."""
    hard = {"spec": {"hard": {"pods": "0"}}}
    cluster.create(trees.tree("v1", "ResourceQuota", "none", **hard))
    cluster.advance(1)
    cluster.create(daemons.daemon_set())
    cluster.advance(0.001)
    first = daemons.events(cluster)[0]
    assert first.startswith('Warning FailedCreate Error creating: pods "log-')
    assert first.endswith("is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0")
    assert len(daemons.events(cluster)) == 1
    cluster.advance(10)
    assert daemons.counts(cluster) == {"desired": 3}
    cluster.delete("resourcequota/none")
    daemons.settle(cluster, 3)


def test_pods_are_adopted_and_let_go(cluster: Cluster) -> None:
    """By labels: one let go is replaced, and comes before its younger substitute when it matches again."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    node, name = next(iter(daemons.by_node(cluster).items()))
    cluster.advance(2)
    cluster.patch(f"pod/{name}", {"metadata": {"labels": {"app": "mine"}}})
    cluster.run_until(lambda: len(cluster.list("pod", labels="app=log")) == 3, within=10)
    assert objects.owner_references(cluster.get(f"pod/{name}") or {}) == []
    cluster.patch(f"pod/{name}", {"metadata": {"labels": {"app": "log"}}})
    daemons.settle(cluster, 3)
    assert daemons.by_node(cluster)[node] == name


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_a_deletion(cluster: Cluster, policy: str) -> None:
    """Pods and revisions go with it, or are orphaned; a new one of that name takes orphans over."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    before, known = daemons.by_node(cluster), daemons.revisions(cluster)
    cluster.delete("daemonset/log", propagation=policy)
    cluster.wait_for("daemonset/log", "gone", within=120)
    cluster.advance(60)
    left = before if policy == "Orphan" else {}
    assert daemons.by_node(cluster) == left
    assert daemons.revisions(cluster) == (known if left else {})
    if left:
        cluster.create(daemons.daemon_set())
        daemons.settle(cluster, 3)
        assert [daemons.by_node(cluster), daemons.revisions(cluster)] == [before, known]


@pytest.mark.parametrize("number", thorough.each(3, range(2, 15)))
def test_killed_at_any_write_of_the_first_pods(cluster: Cluster, number: int) -> None:
    """The control plane dies right after the n-th write, and the end is the same."""
    watching = invariants.watch(cluster.sim)
    Faults(cluster.sim).crash_at_write(number, back_after=3)
    cluster.sim.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    assert cluster.time >= 3
    cluster.advance(60)
    watching.settled()
    assert list(daemons.revisions(cluster).values()) == [1]


@pytest.mark.parametrize("number", thorough.each(3, range(2, 22, 2)))
@pytest.mark.parametrize("surge", [0, 1])
def test_killed_at_any_write_of_an_update(cluster: Cluster, number: int, surge: int) -> None:
    """The same, with and without surge."""
    watching = invariants.watch(cluster.sim)
    cluster.create(daemons.daemon_set(surge=surge))
    daemons.settle(cluster, 3)
    Faults(cluster.sim).crash_at_write(number, back_after=3)
    daemons.set_image(cluster, "log:2")
    daemons.settle(cluster, 3)
    assert cluster.time >= 3
    cluster.advance(60)
    watching.settled()
    assert daemons.images(cluster) == ["log:2"] * 3
    assert sorted(daemons.revisions(cluster).values()) == [1, 2]


def test_late_news_and_rivals(cluster: Cluster) -> None:
    """Controllers that hear late, and two at once: never a second pod on a node for long."""
    watching = invariants.watch(cluster.sim)
    faults = Faults(cluster.sim)
    with faults.late_watches(7, Aim(users=CONTROLLERS)), faults.duplicate_controllers():
        cluster.create(daemons.daemon_set())
        cluster.advance(60)
        daemons.set_image(cluster, "log:2")
        cluster.advance(60)
    daemons.settle(cluster, 3)
    cluster.advance(60)
    watching.settled()
    assert sorted(daemons.revisions(cluster).values()) == [1, 2]


# Upstream's conformance: 105, 106, 108, 109, 111


def test_a_collection_is_listed_and_deleted(cluster: Cluster) -> None:
    """By a label, in all namespaces, and with its pods; another one stays."""
    made = daemons.daemon_set()
    made["metadata"]["labels"] = {"daemonset-name": "log"}
    cluster.create(made)
    spec = {"selector": {"matchLabels": {"app": "other"}}, "template": trees.template("other")}
    cluster.create(trees.tree("apps/v1", "DaemonSet", "other", spec=spec))
    daemons.settle(cluster, 3)
    assert [objects.name(d) for d in cluster.list("daemonset", labels="daemonset-name=log")] == ["log"]
    kind = next(k for k in cluster.kinds if k.resource == "daemonsets.apps")
    cluster.run(cluster.client.delete_collection(kind, "default", labels="daemonset-name=log"))
    assert trees.by_name(cluster.list("daemonset")) == ["other"]
    cluster.run_until(lambda: len(cluster.list("pod")) == 3 and len(cluster.list("controllerrevision")) == 1, within=60)
    assert {objects.labels(p)["app"] for p in cluster.list("pod")} == {"other"}


def test_a_failed_pod_is_created_again(cluster: Cluster) -> None:
    """Its place is taken, and it is gone."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    bad = daemons.by_node(cluster)[nodes(cluster)[0]]
    fail(cluster, bad)
    cluster.run_until(lambda: cluster.get(f"pod/{bad}") is None, within=60)
    daemons.settle(cluster, 3)


def test_a_complex_daemon(cluster: Cluster) -> None:
    """None, then one on the node that is labelled, none again, then one by the changed template's selector."""
    cluster.create(daemons.daemon_set(pod={"nodeSelector": {"color": "blue"}}))
    node = nodes(cluster)[0]
    cluster.advance(5)
    assert daemons.by_node(cluster) == {}
    cluster.patch(f"node/{node}", {"metadata": {"labels": {"color": "blue"}}})
    daemons.settle(cluster, 1)
    cluster.patch(f"node/{node}", {"metadata": {"labels": {"color": "green"}}})
    cluster.run_until(lambda: not cluster.list("pod"), within=60)
    cluster.patch("daemonset/log", {"spec": {"template": {"spec": {"nodeSelector": {"color": "green"}}}}})
    daemons.settle(cluster, 1)
    assert list(daemons.by_node(cluster)) == [node]


def test_a_simple_daemon_is_revived(cluster: Cluster) -> None:
    """When its pod is deleted."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    gone = cluster.list("pod")[0]
    cluster.delete(f"pod/{objects.name(gone)}", grace_seconds=0)
    daemons.settle(cluster, 3)
    assert objects.uid(gone) not in map(objects.uid, cluster.list("pod"))


def test_the_status_has_its_own_door(cluster: Cluster) -> None:
    """Conditions that others put there stay, whatever the controller counts afterwards."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 3)
    path = "/apis/apps/v1/namespaces/default/daemonsets/log/status"
    found = cluster.run(cluster.client.call("GET", path))
    for type in ("StatusUpdate", "StatusPatched"):
        condition = {"type": type, "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        if type == "StatusUpdate":
            body = {**found, "status": {**found["status"], "conditions": [condition]}}
            cluster.run(cluster.client.call("PUT", path, body=body))
        else:
            cluster.patch("daemonset/log", {"status": {"conditions": [condition]}}, subresource="status")
        cluster.advance(30)
        assert trees.condition(cluster.get("daemonset/log"), type) == ("True", "E2E", "Set from e2e test")
    cluster.add_node("late")
    daemons.settle(cluster, 4)
    assert trees.condition(cluster.get("daemonset/log"), "StatusPatched") == ("True", "E2E", "Set from e2e test")
    with pytest.raises(ApiError, match="must be greater than or equal to 0"):
        cluster.patch("daemonset/log", {"status": {"numberReady": -1}}, subresource="status")
