"""Faults of what is seen: pasts, gaps and repetitions; and an agent that dies beside its containers."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.cache import Cache
from sampan.cluster import invariants
from sampan.cluster.aim import CONTROLLERS, WRITES, Aim
from sampan.cluster.faults import Faults
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kit.tasks import Tasks
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from tests.sim import trees

Tree = dict[str, Any]
ADMIN = ("kubernetes-admin",)


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1, nodes=2) as made:
        yield made


@pytest.fixture
def faults(cluster: SimulatedCluster) -> Faults:
    return Faults(cluster)


class Watcher:
    """Who follows the ConfigMaps of a cluster, and notes what it is told of those that a test makes."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.told: list[str] = []
        self._cluster = cluster
        self._tasks = Tasks("watcher")
        self.cache = Cache(cluster.client, CONFIGMAP, namespace="default", clock=cluster.clock, tasks=self._tasks)
        self.cache.subscribe(self._note)
        cluster.run(self.cache.wait_synced())

    def close(self) -> None:
        """It is told nothing more."""
        self._tasks.kill()

    def values(self) -> dict[str, str]:
        """Name -> value of each, as it is known here."""
        return {objects.name(o): o["data"]["value"] for o in self.cache if "data" in o and "value" in o["data"]}

    def _note(self, change: str, old: Tree | None, new: Tree | None) -> None:
        data = ((new or old or {}).get("data") or {}).get("value")
        if data is not None:
            self.told.append(f"{change} {objects.name(new or old or {})} {data}")


@pytest.fixture
def watcher(cluster: SimulatedCluster) -> Iterator[Watcher]:
    made = Watcher(cluster)
    yield made
    made.close()


def put(cluster: SimulatedCluster, name: str, value: str) -> None:
    cluster.apply(trees.tree("v1", "ConfigMap", name, data={"value": value}))
    cluster.advance(1)


def test_missed_events(cluster: SimulatedCluster, faults: Faults, watcher: Watcher) -> None:
    """What came and went meanwhile was never there; of the rest only the last state is seen."""
    put(cluster, "kept", "0")
    with faults.missed_events(Aim(users=ADMIN)):
        put(cluster, "brief", "1")
        put(cluster, "kept", "2")
        put(cluster, "kept", "3")
        cluster.delete(CONFIGMAP, "brief", "default")
    cluster.advance(1)
    put(cluster, "kept", "4")
    assert watcher.told == ["ADDED kept 0", "MODIFIED kept 3", "MODIFIED kept 4"]


def test_repeated_events(cluster: SimulatedCluster, faults: Faults, watcher: Watcher) -> None:
    """After each event some of those before come again, and the last one is the last again."""
    watched = invariants.watch(cluster)
    with faults.repeated_events(Aim(users=ADMIN)):
        for value in range(4):
            put(cluster, "one", str(value))
            assert watcher.values() == {"one": str(value)}
        cluster.delete(CONFIGMAP, "one", "default")
        cluster.advance(1)
        assert watcher.values() == {}
    assert watcher.told.count("MODIFIED one 2") > 1
    watched.settled()


def test_time_travel(cluster: SimulatedCluster, faults: Faults) -> None:
    """Who lists and watches sees what was so, 30 seconds late; a read of one object shows the present."""
    watched = invariants.watch(cluster)
    put(cluster, "one", "old")
    put(cluster, "gone", "old")
    cluster.advance(40)
    put(cluster, "one", "new")
    cluster.delete(CONFIGMAP, "gone", "default")
    with faults.time_travel(30, Aim(users=ADMIN)):
        late = Watcher(cluster)
        assert late.values() == {"one": "old", "gone": "old"}
        assert cluster.run(cluster.client.get(CONFIGMAP, "one", "default"))["data"] == {"value": "new"}
        put(cluster, "next", "new")
        cluster.advance(20)
        assert late.values() == {"one": "old", "gone": "old"}
        cluster.advance(10)
        assert late.values() == {"one": "new", "next": "new"}
        put(cluster, "last", "new")
    cluster.advance(1)
    assert late.values() == {"one": "new", "next": "new", "last": "new"}
    late.close()
    watched.settled()


def test_controllers_that_come_back_to_the_past(cluster: SimulatedCluster, faults: Faults) -> None:
    """They may do too much or too little for a while, and nothing is wrong in the end."""
    watched = invariants.watch(cluster, faults=faults)
    cluster.apply(trees.replica_set(3))
    cluster.advance(20)
    with faults.time_travel(30, Aim(users=CONTROLLERS)):
        faults.crash_control_plane(back_after=1)
        cluster.advance(60)
    cluster.advance(60)
    assert len(cluster.list(POD)) == 3
    watched.settled()


def test_answers_that_say_no_to_what_was_done(cluster: SimulatedCluster, faults: Faults) -> None:
    """The server tells of a timeout, and has done it."""
    with faults.lost_answers(Aim(users=ADMIN, verbs=WRITES), 504), pytest.raises(ApiError) as caught:
        cluster.create(trees.config_map("one"))
    assert (caught.value.code, caught.value.reason) == (504, "Timeout")
    assert cluster.get(CONFIGMAP, "one", "default") is not None


def statuses(cluster: SimulatedCluster) -> list[tuple[str, int]]:
    """Container id and restarts of each container."""
    found = [c for p in cluster.list(POD) for c in p["status"].get("containerStatuses", ())]
    return sorted((c.get("containerID", ""), c["restartCount"]) for c in found)


def test_an_agent_crashes_and_its_containers_go_on(cluster: SimulatedCluster, faults: Faults) -> None:
    """They are the same ones afterwards, none was started again, and their pods were never out of order for long."""
    watched = invariants.watch(cluster, faults=faults)
    cluster.apply(trees.replica_set(4))
    cluster.advance(20)
    before, running = statuses(cluster), cluster.running()
    for name in cluster.machines:
        faults.crash_agent(name, back_after=20)
    assert not any(map(cluster.is_node_up, cluster.machines))
    assert cluster.running() == running
    cluster.advance(60)
    assert all(map(cluster.is_node_up, cluster.machines))
    assert statuses(cluster) == before
    assert all(conditions.is_true(node, "Ready") for node in cluster.list(NODE))
    watched.settled()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5, 3.0, 3.2, 8.0])
def test_an_agent_that_crashes_at_any_time_of_a_pod(cluster: SimulatedCluster, faults: Faults, seconds: float) -> None:
    """While a container starts, runs, ends or is stopped: each runs once, and ends as it should, at its own time."""
    watched = invariants.watch(cluster, faults=faults)
    cluster.behaviours.add("app=once", {"start": {"takes": "1s"}, "run": "2s", "exit": 0})
    cluster.behaviours.add("app=long", {"start": {"takes": "1s"}, "stop": {"takes": "3s"}})
    once, long = trees.pod("once", {"app": "once"}, restartPolicy="Never"), trees.pod("long", {"app": "long"})
    for made in (once, long):
        cluster.apply(made)
    cluster.advance(seconds)
    if seconds > 2:
        cluster.delete(POD, "long", "default")
        cluster.advance(0.5)
    for name in cluster.machines:
        faults.crash_agent(name, back_after=10)
    cluster.advance(120)
    ended = (cluster.get(POD, "once", "default") or {})["status"]
    assert ended["phase"] == "Succeeded"
    (only,) = ended["containerStatuses"]
    assert only["restartCount"] == 0
    left = cluster.get(POD, "long", "default")
    if seconds > 2:
        assert left is None
    else:
        assert (left or {})["status"]["phase"] == "Running"
        assert (left or {})["status"]["containerStatuses"][0]["restartCount"] == 0
    watched.settled()


def test_a_crashed_agent_in_a_fork(cluster: SimulatedCluster) -> None:
    """What it left behind goes on there too, and nothing of it here."""
    cluster.apply(trees.replica_set(2))
    cluster.advance(20)
    before = statuses(cluster)
    for name in cluster.machines:
        cluster.crash_agent(name)
    fork = cluster.fork()
    for name in fork.machines:
        fork.start_node(name)
    fork.advance(30)
    assert statuses(fork) == before
    assert not any(map(cluster.is_node_up, cluster.machines))
    fork.close()
