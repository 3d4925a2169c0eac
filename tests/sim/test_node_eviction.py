"""Nodes that fail together drive their pods away one after another; and nobody, when most or all of them fail."""

from collections.abc import Iterator

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.meta import objects
from tests.sim import trees

SILENT_SECONDS = 60
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1, nodes=5) as made:
        made.advance(20)
        yield made


def driven(cluster: SimulatedCluster) -> list[str]:
    """The nodes whose pods have to leave."""
    return [
        objects.name(node)
        for node in cluster.list(NODE)
        if any(t["key"] == "node.kubernetes.io/unreachable" and t["effect"] == "NoExecute" for t in _taints(node))
    ]


def kept_out(cluster: SimulatedCluster) -> list[str]:
    """The nodes that get no new pods."""
    return [objects.name(n) for n in cluster.list(NODE) if any(t["effect"] == "NoSchedule" for t in _taints(n))]


def since(cluster: SimulatedCluster) -> list[float]:
    """When each node was tainted NoExecute."""
    times: dict[str, float] = {}
    for change in cluster.history:
        if change.resource == "nodes" and any(t["effect"] == "NoExecute" for t in _taints(change.tree)):
            times.setdefault(change.key, change.time)
    return sorted(times.values())


def stop(cluster: SimulatedCluster, *numbers: int) -> None:
    for number in numbers:
        cluster.stop_node(f"sampan-{number}")


def _taints(node: object) -> list[dict[str, str]]:
    return (node["spec"].get("taints") or []) if isinstance(node, dict) else []


def test_two_that_fail_together_follow_each_other(cluster: SimulatedCluster) -> None:
    """No new pods for either at once; the pods of the second leave 10 s after those of the first."""
    stop(cluster, 4, 5)
    cluster.run_until(lambda: bool(driven(cluster)), within=SILENT_SECONDS)
    assert len(driven(cluster)) == 1
    cluster.advance(5)
    assert kept_out(cluster) == ["sampan-4", "sampan-5"]
    cluster.advance(20)
    assert driven(cluster) == ["sampan-4", "sampan-5"]
    first, second = since(cluster)
    assert 10 <= second - first < 10.5


def test_where_most_fail_nobody_is_driven_away(cluster: SimulatedCluster) -> None:
    """Three of five, in a zone of less than 51 nodes: until one of them is back."""
    stop(cluster, 3, 4)
    cluster.run_until(lambda: bool(driven(cluster)), within=SILENT_SECONDS)
    stop(cluster, 5)
    cluster.advance(SILENT_SECONDS)
    both = driven(cluster)
    assert len(both) == 2
    cluster.advance(600)
    assert kept_out(cluster) == ["sampan-3", "sampan-4", "sampan-5"]
    assert driven(cluster) == both
    cluster.start_node(both[0])
    cluster.advance(15)
    assert driven(cluster) == sorted([both[1], "sampan-5"])


def test_when_all_fail_the_taints_are_taken_back(cluster: SimulatedCluster) -> None:
    """Pods that wait for their end stay; when one node returns, the others go on one after another."""
    cluster.create(trees.pod("web", nodeName="sampan-2"))
    cluster.advance(5)
    stop(cluster, 2)
    cluster.run_until(lambda: driven(cluster) == ["sampan-2"], within=SILENT_SECONDS)
    stop(cluster, 3, 4, 5)
    cluster.stop_node("sampan")
    cluster.advance(SILENT_SECONDS)
    assert driven(cluster) == []
    assert len(kept_out(cluster)) == 5
    cluster.advance(1000)
    assert [objects.name(pod) for pod in trees.alive(cluster)] == ["web"]
    told = trees.events(cluster, "TaintManagerEviction", "web")
    assert told == ["Cancelling deletion of Pod default/web"]
    for name in ("sampan", "sampan-5", "sampan-4"):
        cluster.start_node(name)
    cluster.advance(25)
    assert driven(cluster) == ["sampan-2", "sampan-3"]
    cluster.advance(300)
    assert cluster.list(POD) == [] or all(objects.is_deleting(pod) for pod in cluster.list(POD))


def test_zones_fail_for_themselves(cluster: SimulatedCluster) -> None:
    """A zone that is gone as a whole is driven away at the usual pace, beside one that has its own."""
    for name, zone in (("sampan-2", "x"), ("sampan-3", "x"), ("sampan-4", "y")):
        cluster.patch(NODE, name, "", {"metadata": {"labels": {ZONE: zone}}})
    stop(cluster, 2, 3, 4)
    cluster.run_until(lambda: len(driven(cluster)) > 1, within=SILENT_SECONDS)
    assert len(driven(cluster)) == 2
    assert "sampan-4" in driven(cluster)
    cluster.advance(15)
    assert driven(cluster) == ["sampan-2", "sampan-3", "sampan-4"]


def test_what_a_control_plane_slept_through_is_no_nodes_silence(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause of the process is taken from a node's silence, which goes on where it was."""
    cluster.stop_node("sampan-2")
    cluster.advance(35)
    monkeypatch.setattr(cluster.clock, "awake", lambda: cluster.clock.monotonic() - 30)
    cluster.advance(35)
    assert kept_out(cluster) == []
    cluster.advance(20)
    assert kept_out(cluster) == ["sampan-2"]
