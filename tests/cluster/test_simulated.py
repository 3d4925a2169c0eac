"""The simulated cluster's own promises: stepping, history, nodes, and failures that show."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.cluster.doors import Nap, Stream
from sampan.cluster.simulated import Change, SimulatedCluster, digest
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kit.simloop import Stuck
from sampan.kit.tasks import Tasks
from sampan.meta import conditions
from sampan.meta.status import ApiError

Tree = dict[str, Any]


def config_map(name: str = "settings", **data: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name: str = "web", **spec: Any) -> Tree:
    containers = [{"name": "web", "image": "web:1"}]
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


def test_it_starts_at_second_zero(cluster: SimulatedCluster) -> None:
    """Starting takes no virtual time, and every node is Ready."""
    assert cluster.time == 0
    assert [conditions.is_true(node, "Ready") for node in cluster.list(NODE)] == [True]


def test_time_passes_only_when_told_to(cluster: SimulatedCluster) -> None:
    """Objects bear the virtual time."""
    cluster.advance(3600)
    created = cluster.create(config_map())
    assert cluster.time == 3600
    assert created["metadata"]["creationTimestamp"] == "2026-01-01T01:00:00Z"


def test_history_has_every_change(cluster: SimulatedCluster) -> None:
    """What, when, how, and the object as clients see it, to its deletion."""
    cluster.create(config_map(a="1"))
    cluster.advance(5)
    cluster.apply(config_map(a="2"))
    cluster.delete(CONFIGMAP, "settings", "default")
    seen = [change for change in cluster.history if change.key == "default/settings"]
    assert [(c.time, c.resource, c.type) for c in seen] == [
        (0, "configmaps", "ADDED"),
        (5, "configmaps", "MODIFIED"),
        (5, "configmaps", "DELETED"),
    ]
    assert [c.tree["data"] for c in seen] == [{"a": "1"}, {"a": "2"}, {"a": "2"}]
    versions = [int(c.tree["metadata"]["resourceVersion"]) for c in seen]
    assert versions == sorted(set(versions))


def test_the_digest_tells_histories_apart(cluster: SimulatedCluster) -> None:
    """One change more is another digest."""
    before = digest(cluster.history)
    assert before == digest(list(cluster.history))
    cluster.create(config_map())
    assert digest(cluster.history) != before


def test_refusals_are_the_servers(cluster: SimulatedCluster) -> None:
    """The API answers as it does over HTTPS."""
    cluster.create(config_map())
    with pytest.raises(ApiError, match="already exists"):
        cluster.create(config_map())
    with pytest.raises(LookupError, match="no kind Nothing in v1"):
        cluster.create({"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "x"}})


def test_what_never_comes_is_an_error(cluster: SimulatedCluster) -> None:
    """A wait is bounded by virtual time."""
    with pytest.raises(Stuck):
        cluster.run_until(lambda: bool(cluster.list(POD)), within=100)


def test_an_observer_ends_the_step(cluster: SimulatedCluster) -> None:
    """A broken invariant is raised where the time was let pass."""

    def object_to(change: Change) -> None:
        assert change.resource != "configmaps", "no ConfigMaps here"

    cluster.observe(object_to)
    with pytest.raises(AssertionError, match="no ConfigMaps here"):
        cluster.create(config_map())


def test_a_failure_inside_is_raised(cluster: SimulatedCluster) -> None:
    """A component's own failure is not lost."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def start() -> None:
        cluster._plane.tasks.spawn(fail(), "a broken part")

    with pytest.raises(ZeroDivisionError):
        cluster.run(start())


def test_a_pod_runs_where_it_is_told(cluster: SimulatedCluster) -> None:
    """Scheduler and node agent work as ever: an address, probes and hooks that succeed, an end."""
    containers = [{"name": "web", "image": "web:1", "livenessProbe": {"exec": {"command": ["true"]}}}]
    cluster.create(pod(containers=containers))
    cluster.run_until(lambda: conditions.is_true(cluster.get(POD, "web", "default"), "Ready"), within=10)
    cluster.advance(60)
    found = cluster.get(POD, "web", "default")
    assert found["status"]["podIP"] == "10.244.0.2"
    assert found["status"]["containerStatuses"][0]["restartCount"] == 0
    cluster.delete(POD, "web", "default")
    cluster.run_until(lambda: cluster.get(POD, "web", "default") is None, within=40)


def test_a_node_has_its_own_identity(cluster: SimulatedCluster) -> None:
    """What a node writes is under the same authorization as over the network."""
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}})
    stranger = cluster._nodes["sampan"].parts.client
    with pytest.raises(ApiError, match=r"is not allowed to modify node|cannot patch resource"):
        cluster.run(stranger.patch(NODE, ("", "other"), {"status": {"phase": "x"}}, subresource="status"))


def test_a_stopped_node_forgets_its_containers(cluster: SimulatedCluster) -> None:
    """After a power failure the node is Ready again, and its pods' containers are started anew."""
    cluster.create(pod())
    cluster.run_until(lambda: conditions.is_true(cluster.get(POD, "web", "default"), "Ready"), within=10)
    first = cluster.get(POD, "web", "default")["status"]["containerStatuses"][0]["containerID"]
    cluster.stop_node("sampan")
    cluster.advance(60)
    assert not conditions.is_true(cluster.get(NODE, "sampan"), "Ready")
    cluster.start_node("sampan")
    cluster.advance(30)
    status = cluster.get(POD, "web", "default")["status"]["containerStatuses"][0]
    assert status["state"].get("running")
    assert status["containerID"] != first


def test_a_killed_control_plane_comes_back(cluster: SimulatedCluster) -> None:
    """Nobody reaches it meanwhile, what was stored is there afterwards, and the pods have kept running."""
    containers = [{"name": "web", "image": "web:1"}]
    cluster.create(pod(containers=containers))
    cluster.run_until(lambda: conditions.is_true(cluster.get(POD, "web", "default"), "Ready"), within=10)
    started = cluster.get(POD, "web", "default")["status"]["containerStatuses"][0]
    cluster.crash_control_plane()
    with pytest.raises(TransportError, match="connection refused"):
        cluster.create(config_map())
    cluster.advance(20)
    cluster.start_control_plane()
    cluster.advance(60)
    found = cluster.get(POD, "web", "default")
    assert found["status"]["containerStatuses"][0] == started
    assert conditions.is_true(cluster.list(NODE)[0], "Ready")
    assert cluster.create(config_map())["metadata"]["name"]


def test_a_crash_in_the_middle_of_a_write(cluster: SimulatedCluster) -> None:
    """Who writes is not told, but the write is done: it was stored before the crash."""

    def crash(change: Change) -> None:
        if change.resource == "configmaps" and cluster._plane is not None:
            cluster.crash_control_plane()

    cluster.observe(crash)
    with pytest.raises(TransportError, match="reset"):
        cluster.create(config_map())
    cluster.start_control_plane()
    assert cluster.get(CONFIGMAP, config_map()["metadata"]["name"], "default") is not None


def test_a_fork_goes_on_alone(cluster: SimulatedCluster) -> None:
    """It has what there was, containers too; what happens in it, the first never learns, and the other way round."""
    ends = {"simulated.sampan.dev/run-seconds": "100", "simulated.sampan.dev/exit-code": "3"}
    made = pod(restartPolicy="Never")
    cluster.create({**made, "metadata": {**made["metadata"], "annotations": ends}})
    cluster.advance(30)
    fork = cluster.fork()
    assert fork.time == 30
    fork.create(config_map())
    fork.advance(60)
    assert fork.get(POD, "web", "default")["status"]["phase"] == "Running"
    fork.advance(20)
    assert fork.get(POD, "web", "default")["status"]["phase"] == "Failed"
    assert cluster.get(POD, "web", "default")["status"]["phase"] == "Running"
    assert cluster.get(CONFIGMAP, "settings", "default") is None
    cluster.delete(POD, "web", "default")
    cluster.advance(60)
    assert fork.get(POD, "web", "default") is not None
    fork.close()


def test_forks_have_one_future(cluster: SimulatedCluster) -> None:
    """The same calls give the same history, byte for byte, in any two of them."""
    cluster.create(pod())
    cluster.advance(10)
    forks = [cluster.fork(), cluster.fork()]
    for fork in forks:
        fork.create(config_map())
        fork.delete(POD, "web", "default")
        fork.advance(3600)
        fork.close()
    assert digest(forks[0].history) == digest(forks[1].history)


def test_a_fork_begins_to_watch_when_something_changes(cluster: SimulatedCluster) -> None:
    """Until then nobody has asked for a watch; then those do whom it concerns."""
    fork = cluster.fork()
    assert all(isinstance(stream, Nap) for stream in fork.doors.streams)
    naps = len(fork.doors.streams)
    assert naps > 50
    fork.create(pod())
    fork.advance(5)
    assert (fork.get(POD, "web", "default") or {})["status"]["phase"] == "Running"
    awake = [stream.request.path for stream in fork.doors.streams if isinstance(stream, Stream)]
    assert "/api/v1/pods" in awake
    assert len(awake) < naps / 2
    fork.close()


def test_nobody_lists_what_there_is_nothing_of(cluster: SimulatedCluster) -> None:
    """A cache of such a kind is complete at once, and sees the first object; of any other kind it asks."""
    tasks = Tasks("test")
    pods, nodes = (Cache(cluster.client, kind, clock=cluster.clock, tasks=tasks) for kind in (POD, NODE))

    async def begin() -> tuple[bool, bool]:
        pods.start()
        nodes.start()
        return pods.synced, nodes.synced

    assert cluster.run(begin()) == (True, False)
    cluster.create(pod())
    cluster.advance(1)
    assert [len(pods), len(nodes)] == [1, 1]
    assert cluster.doors.nothing(POD) == 0
    assert cluster.doors.nothing(JOB) == cluster.app.cache.revision
    cluster.run(tasks.close())


def test_a_fork_of_a_fork(cluster: SimulatedCluster) -> None:
    """Nodes keep their leases, and the killed control plane comes back there too."""
    second = cluster.fork().fork()
    second.advance(600)
    second.crash_control_plane()
    second.advance(30)
    second.start_control_plane()
    second.advance(60)
    assert [conditions.is_true(node, "Ready") for node in second.list(NODE)] == [True]
    second.close()
