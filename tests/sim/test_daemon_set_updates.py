"""Updates of a DaemonSet in virtual time: how many nodes at once, with and without surge, and back again."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.history import Change
from sampan.meta import conditions, objects
from sampan.testing import Cluster
from tests.sim import daemons, trees
from tests.sim.trees import Tree

SLOW = {"readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=4) as made:
        made.behave("log", {"stages": [{"run": 3, "readiness": False}, {}]})
        yield made


def slow(image: str = "log:1", **spec: Any) -> Tree:
    """A DaemonSet whose pods take some seconds to be ready."""
    return daemons.daemon_set(image, pod={"containers": [{"name": "main", "image": image, **SLOW}]}, **spec)


def start(cluster: Cluster, made: Tree) -> None:
    cluster.create(made)
    daemons.settle(cluster, 4)


class Watch:
    """How few available pods there ever were, how many in all, and in which order they came and went."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.least, self.most, self.most_per_node = 4, 4, 1
        cluster.sim.observe(self.look)

    def look(self, change: Change) -> None:
        if change.resource != "pods":
            return
        pods = self.cluster.list("pod")
        staying = [p for p in pods if not objects.is_deleting(p)]
        self.least = min(self.least, sum(conditions.is_true(p, "Ready") for p in staying))
        self.most = max(self.most, len(staying))
        places = [daemon["spec"].get("nodeName") for daemon in staying]
        self.most_per_node = max(self.most_per_node, *(places.count(n) for n in places if n), 0)


@pytest.mark.parametrize(("unavailable", "least"), [(1, 3), (2, 2), ("30%", 2), ("100%", 0)])
def test_as_many_at_once_as_may_be_unavailable(cluster: Cluster, unavailable: int | str, least: int) -> None:
    """Never fewer available, and never two pods on a node."""
    start(cluster, slow(unavailable=unavailable))
    watch = Watch(cluster)
    daemons.set_image(cluster, "log:2")
    daemons.settle(cluster, 4)
    assert (watch.least, watch.most, watch.most_per_node) == (least, 4, 1)
    assert daemons.images(cluster) == ["log:2"] * 4


@pytest.mark.parametrize(("surge", "most"), [(1, 5), (2, 6), ("50%", 6), ("100%", 8)])
def test_as_many_beside_the_old_ones_as_may_surge(cluster: Cluster, surge: Any, most: int) -> None:
    """No node is ever without an available pod; an old one goes when the new one beside it is available."""
    start(cluster, slow(surge=surge))
    watch = Watch(cluster)
    daemons.set_image(cluster, "log:2")
    daemons.settle(cluster, 4)
    assert (watch.least, watch.most, watch.most_per_node) == (4, most, 2)
    assert daemons.images(cluster) == ["log:2"] * 4


def test_available_means_ready_for_so_long(cluster: Cluster) -> None:
    """With minReadySeconds each node takes as long more, and the status tells ready and available apart."""
    start(cluster, slow(minReadySeconds=20))
    before = cluster.time
    daemons.set_image(cluster, "log:2")
    cluster.run_until(lambda: daemons.counts(cluster).get("updated") == 1, within=30)
    cluster.run_until(lambda: daemons.counts(cluster)["ready"] == 4, within=30)
    assert daemons.counts(cluster) == daemons.everywhere(4) | {"updated": 1, "available": 3}
    daemons.settle(cluster, 4)
    assert 4 * 23 <= cluster.time - before <= 4 * 27


def test_on_delete_waits_for_the_user(cluster: Cluster) -> None:
    """Old pods stay; one that is deleted comes again from the new template."""
    start(cluster, slow(updateStrategy={"type": "OnDelete"}))
    daemons.set_image(cluster, "log:2")
    cluster.advance(60)
    assert daemons.counts(cluster) == {"desired": 4, "current": 4, "ready": 4, "available": 4}
    node, name = next(iter(daemons.by_node(cluster).items()))
    cluster.delete(f"pod/{name}")
    cluster.run_until(lambda: daemons.counts(cluster) == daemons.everywhere(4) | {"updated": 1}, within=60)
    assert trees.image(cluster.get(f"pod/{daemons.by_node(cluster)[node]}") or {}) == "log:2"
    cluster.patch("daemonset/log", {"spec": {"updateStrategy": {"type": "RollingUpdate"}}})
    daemons.settle(cluster, 4)


def test_a_bad_update_stops_after_the_first(cluster: Cluster) -> None:
    """An image that nobody has stays on one node; another update mends that node first."""
    cluster.behave("foo", {"pull": {"error": "not found"}})
    start(cluster, slow())
    daemons.set_image(cluster, "foo:non-existent")
    cluster.advance(minutes=5)
    assert daemons.images(cluster) == ["foo:non-existent", *["log:1"] * 3]
    assert daemons.counts(cluster) == {"desired": 4, "current": 4, "updated": 1, "ready": 3, "available": 3}
    bad = next(p for p in cluster.list("pod") if trees.image(p).startswith("foo"))
    daemons.set_image(cluster, "log:3")
    cluster.run_until(lambda: cluster.get(f"pod/{objects.name(bad)}") is None, within=60)
    assert "log:1" in daemons.images(cluster)
    daemons.settle(cluster, 4)


def test_a_surging_update_leaves_a_node_when_another_serves(cluster: Cluster) -> None:
    """Where the new template no longer fits, the old pod stays until as many as are wanted serve elsewhere."""
    first, *others = [objects.name(n) for n in cluster.list("node")]
    cluster.patch(f"node/{first}", {"metadata": {"labels": {"old": "yes"}}})
    start(cluster, slow(surge=1))
    watch = Watch(cluster)
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    cluster.patch(f"node/{first}", {"spec": {"taints": [taint]}})
    daemons.set_image(cluster, "log:2")
    daemons.settle(cluster, 3)
    assert watch.least == 3
    assert sorted(daemons.by_node(cluster)) == others


def test_history_is_kept_up_to_its_limit(cluster: Cluster) -> None:
    """The numbers rise, the oldest go; going back takes up the old revision under a new number, without a trace else."""
    start(cluster, daemons.daemon_set(unavailable="100%", revisionHistoryLimit=2))
    codes = [*daemons.revisions(cluster)]
    for number in range(2, 6):
        daemons.set_image(cluster, f"log:{number}")
        daemons.settle(cluster, 4)
        codes += [code for code in daemons.revisions(cluster) if code not in codes]
        kept = range(max(number - 2, 1), number + 1)
        cluster.advance(1)
        assert daemons.revisions(cluster) == {codes[n - 1]: n for n in kept}
    daemons.set_image(cluster, "log:4")
    daemons.settle(cluster, 4)
    assert daemons.revisions(cluster) == {codes[2]: 3, codes[4]: 5, codes[3]: 6}
    assert {objects.labels(p)[daemons.HASH] for p in cluster.list("pod")} == {codes[3]}
    assert {objects.labels(p)["pod-template-generation"] for p in cluster.list("pod")} == {"6"}


def test_a_name_that_is_taken_is_evaded(cluster: Cluster) -> None:
    """A foreign revision of that name counts as a collision, which changes the next name."""
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 4)
    taken = cluster.list("controllerrevision")[0]
    cluster.delete("daemonset/log")
    cluster.run_until(lambda: not cluster.list("controllerrevision"), within=60)
    foreign = trees.tree("apps/v1", "ControllerRevision", objects.name(taken), data={"not": "a template"}, revision=1)
    cluster.create(foreign)
    cluster.create(daemons.daemon_set())
    daemons.settle(cluster, 4)
    assert (cluster.get("daemonset/log") or {})["status"]["collisionCount"] == 1
    assert len(cluster.list("controllerrevision")) == 2


# Upstream's conformance: 99, 107, 110


def test_the_life_of_a_revision(cluster: Cluster) -> None:
    """Listed, patched, doubled by hand, deleted, updated, and joined by the next template's; the last has number 3."""
    start(cluster, daemons.daemon_set())
    first = cluster.list("controllerrevision", labels="app=log")[0]
    assert cluster.get(f"controllerrevision/{objects.name(first)}") == first
    labels = {objects.name(first): "patched"}
    first = cluster.patch(f"controllerrevision/{objects.name(first)}", {"metadata": {"labels": labels}})
    kept = {name: first["metadata"][name] for name in ("labels", "annotations", "ownerReferences", "namespace")}
    twin = {**first, "metadata": {"name": "log-twin", **kept}, "revision": first["revision"] + 1}
    cluster.create(twin)
    cluster.advance(5)
    assert len(cluster.list("controllerrevision")) == 2
    cluster.delete(f"controllerrevision/{objects.name(first)}")
    cluster.advance(5)
    assert [objects.name(r) for r in cluster.list("controllerrevision")] == ["log-twin"]
    updated = {"metadata": {"labels": {"log-twin": "updated"}}}
    cluster.patch("controllerrevision/log-twin", updated)
    before = daemons.by_node(cluster)
    cluster.advance(5)
    assert daemons.by_node(cluster) == before
    cluster.patch("daemonset/log", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}})
    cluster.run_until(lambda: len(cluster.list("controllerrevision")) == 2, within=10)
    kind = next(k for k in cluster.kinds if k.resource == "controllerrevisions.apps")
    cluster.run(cluster.client.delete_collection(kind, "default", labels="log-twin=updated"))
    daemons.settle(cluster, 4)
    assert list(daemons.revisions(cluster).values()) == [3]


def test_a_roll_back_restarts_nothing_without_need(cluster: Cluster) -> None:
    """Pods that the bad update had not reached yet are the same ones afterwards."""
    cluster.behave("foo", {"pull": {"error": "not found"}})
    start(cluster, daemons.daemon_set())
    before = cluster.list("pod")
    daemons.set_image(cluster, "foo:non-existent")
    cluster.run_until(lambda: "foo:non-existent" in daemons.images(cluster), within=30)
    cluster.advance(30)
    daemons.set_image(cluster, "log:1")
    daemons.settle(cluster, 4)
    after = {objects.uid(p) for p in cluster.list("pod")}
    assert len(after & {objects.uid(p) for p in before}) == 3
    assert {s["restartCount"] for p in cluster.list("pod") for s in p["status"]["containerStatuses"]} == {0}


def test_a_changed_template_reaches_all_pods(cluster: Cluster) -> None:
    """By default one after the other; pods carry the code of the newest revision."""
    start(cluster, daemons.daemon_set())
    first = next(iter(daemons.revisions(cluster)))
    assert {objects.labels(p)[daemons.HASH] for p in cluster.list("pod")} == {first}
    watch = Watch(cluster)
    daemons.set_image(cluster, "log:2")
    daemons.settle(cluster, 4)
    assert watch.least >= 3
    numbers = daemons.revisions(cluster)
    newest = max(numbers, key=lambda code: numbers[code])
    assert {objects.labels(p)[daemons.HASH] for p in cluster.list("pod")} == {newest}
    assert numbers == {first: 1, newest: 2}
