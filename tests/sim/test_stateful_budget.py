"""StatefulSets in virtual time where the feature gate is open: several pods are replaced at a time, but never too many."""

from collections.abc import Iterator

import pytest

from sampan.cluster.history import Change
from sampan.kinds.feature_gates import MAX_UNAVAILABLE_STATEFUL_SET
from sampan.meta import conditions, objects
from sampan.testing.cluster import Cluster
from tests.sim import stateful
from tests.sim.stateful import WEB, stateful_set
from tests.sim.trees import Tree

GATES = {MAX_UNAVAILABLE_STATEFUL_SET: True}
UNREADY = {"stages": [{"readiness": False}]}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2, feature_gates=GATES) as made:
        made.behave("web", {"start": 2})
        yield made


class Watcher:
    """How many of the set's pods could not be counted on, at most."""

    def __init__(self, cluster: Cluster, replicas: int) -> None:
        self.replicas, self.most = replicas, 0
        self.available = {objects.name(p) for p in cluster.list("pods")}
        cluster.sim.observe(self._look)

    def _look(self, change: Change) -> None:
        if change.resource != "pods":
            return
        name, is_gone = objects.name(change.tree), change.type == "DELETED"
        if is_gone or objects.is_deleting(change.tree) or not conditions.is_true(change.tree, "Ready"):
            self.available.discard(name)
        else:
            self.available.add(name)
        self.most = max(self.most, self.replicas - len(self.available))


def rolling(budget: int | str, **more: int) -> Tree:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": budget, **more}}


def test_pods_are_replaced_in_batches(cluster: Cluster) -> None:
    """In order: two go at once, and come back one after the other before the next two go."""
    cluster.create(stateful_set(5, updateStrategy=rolling(2)))
    stateful.wait_ready(cluster, 5)
    watcher, since = Watcher(cluster, 5), len(stateful.happenings(cluster))
    stateful.set_image(cluster, "web:2")
    stateful.wait_ready(cluster, 5)
    happened = stateful.happenings(cluster)[since:]
    assert happened == [
        "-web-4", "-web-3", "+web-3", "+web-4", "-web-2", "-web-1", "+web-1", "+web-2", "-web-0", "+web-0",
    ]  # fmt: skip
    assert watcher.most == 2
    assert set(stateful.pods(cluster).values()) == {"web:2"}
    deleted = [f"Normal SuccessfulDelete delete Pod web-{n} in StatefulSet web successful" for n in (4, 3, 2, 1, 0)]
    assert [text for text in stateful.told(cluster) if "Delete" in text] == deleted


def test_a_parallel_update_keeps_the_budget_used(cluster: Cluster) -> None:
    """The next pod goes as soon as one is back; a percentage is of the size, rounded down."""
    cluster.create(stateful_set(6, updateStrategy=rolling("59%"), podManagementPolicy="Parallel"))
    stateful.wait_ready(cluster, 6)
    watcher, began = Watcher(cluster, 6), cluster.time
    stateful.set_image(cluster, "web:2")
    stateful.wait_ready(cluster, 6)
    assert watcher.most == 3
    rolled = cluster.time - began
    cluster.patch(WEB, {"spec": {"updateStrategy": rolling(1)}})
    began = cluster.time
    stateful.set_image(cluster, "web:3")
    stateful.wait_ready(cluster, 6)
    assert cluster.time - began > 2 * rolled


def test_pods_have_to_be_ready_for_a_while(cluster: Cluster) -> None:
    """Those that are ready for less than minReadySeconds are not available, and hold the update up."""
    cluster.create(stateful_set(4, updateStrategy=rolling(2), podManagementPolicy="Parallel", minReadySeconds=30))
    stateful.wait_ready(cluster, 4)
    cluster.advance(30)
    since = len(stateful.happenings(cluster))
    stateful.set_image(cluster, "web:2")
    cluster.advance(30)
    assert sorted(stateful.happenings(cluster)[since:]) == ["+web-2", "+web-3", "-web-2", "-web-3"]
    cluster.advance(10)
    assert sorted(set(stateful.happenings(cluster)[since + 4 :])) == ["+web-0", "+web-1", "-web-0", "-web-1"]
    stateful.wait_ready(cluster, 4)


def test_an_update_that_fails_stops_within_the_budget(cluster: Cluster) -> None:
    """Pods that never become ready use it up; the way back frees them, in parallel at least."""
    wanted = stateful_set(4, updateStrategy=rolling(2, partition=1), podManagementPolicy="Parallel")
    wanted["spec"]["template"] = stateful.template(probed=True)
    cluster.create(wanted)
    stateful.wait_ready(cluster, 4)
    cluster.behave("web:2", UNREADY)
    watcher = Watcher(cluster, 4)
    stateful.set_image(cluster, "web:2")
    cluster.advance(600)
    stuck = {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2", "web-3": "web:2"}
    assert (stateful.pods(cluster), watcher.most) == (stuck, 2)
    stateful.set_image(cluster, "web:3")
    cluster.advance(60)
    assert stateful.pods(cluster) == {name: "web:1" if name == "web-0" else "web:3" for name in stuck}
    assert (stateful.status(cluster)["readyReplicas"], watcher.most) == (4, 2)


def test_clusters_differ_in_one_process(cluster: Cluster) -> None:
    """A gate is open in the cluster that opened it, in its forks, and after its control plane came again."""
    cluster.sim.crash_control_plane()
    cluster.sim.start_control_plane()
    wanted = stateful_set(3, updateStrategy=rolling(2))
    with Cluster(seed=1) as other, cluster.fork() as fork:
        made = [each.create(wanted)["spec"]["updateStrategy"]["rollingUpdate"] for each in (cluster, fork, other)]
    assert made == [{"partition": 0, "maxUnavailable": 2}] * 2 + [{"partition": 0}]


def test_gates_that_there_are_not() -> None:
    """They are refused, with those that there are."""
    with pytest.raises(
        ValueError, match="^unrecognized feature gate: Other; there are: HPAScaleToZero, MaxUnavailableStatefulSet$"
    ):
        Cluster(feature_gates={"Other": True})
