"""What the server answers, and what really runs: each rule about it sees that it is broken."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from sampan.cluster import invariants
from sampan.cluster.invariants import Invariants, Violation
from sampan.cluster.rules import nodes
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.pod import POD
from sampan.meta.status import ApiError
from sampan.node.runtime.protocol import ContainerState
from sampan.web.message import Request, Response
from tests.sim import trees

Tree = dict[str, Any]
Answer = Callable[[Request, Any], Any]


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1, nodes=2) as made:
        yield made


@pytest.fixture
def watching(cluster: SimulatedCluster) -> Invariants:
    return invariants.watch(cluster)


def spoil(cluster: SimulatedCluster, method: str, answer: Answer) -> None:
    """Something between the witness and the server does otherwise with an admin's requests about ConfigMaps."""

    async def spoiled(request: Request, identity: str, send: Any) -> Response:
        is_meant = request.method == method and "configmaps" in request.path and identity == "kubernetes-admin"
        return await (answer(request, send) if is_meant else send(request))

    cluster.doors.interceptors.append(spoiled)


def assert_broken(rule: str, said: str, call: Callable[[], object]) -> None:
    with pytest.raises(Violation, match=said) as caught:
        call()
    assert caught.value.rule == rule


# Writes and reads


@pytest.mark.usefixtures("watching")
def test_of_two_updates_one_wins(cluster: SimulatedCluster) -> None:
    """A server that does not look at resourceVersion lets both through."""
    made = cluster.create(trees.config_map("one"))

    async def forget(request: Request, send: Any) -> Response:
        metadata = {name: value for name, value in request.body["metadata"].items() if name != "resourceVersion"}
        return await send(dataclasses.replace(request, body={**request.body, "metadata": metadata}))

    def update(value: str) -> Tree:
        return cluster.run(cluster.client.update(CONFIGMAP, {**made, "data": {"a": value}}))

    update("1")
    with pytest.raises(ApiError, match="object has been modified"):
        update("2")
    spoil(cluster, "PUT", forget)
    assert_broken("OneUpdateWins", "two updates of configmaps default/one on resourceVersion", lambda: update("3"))


def test_a_read_is_current(cluster: SimulatedCluster, watching: Invariants) -> None:
    """A server that answers from before an acknowledged write: an old object, an old list, or nothing at all."""
    cluster.create(trees.config_map("one"))
    client = cluster.client
    old = cluster.run(client.get(CONFIGMAP, "one", "default"))
    listed = cluster.run(client.call("GET", CONFIGMAP.path()))
    cluster.patch(CONFIGMAP, "one", "default", {"data": {"a": "1"}})
    kept: list[Response] = []

    async def answer(request: Request, send: Any) -> Response:
        return kept[0]

    spoil(cluster, "GET", answer)
    for tree, status, path, said in (
        (old, 200, CONFIGMAP.path("default", "one"), "was answered as of"),
        (listed, 200, CONFIGMAP.path(), "was answered as of"),
        ({"kind": "Status", "reason": "NotFound", "code": 404}, 404, CONFIGMAP.path("default", "one"), "was not found"),
    ):
        kept[:] = [Response(status, tree)]
        with contextlib.suppress(ApiError):
            cluster.run(client.call("GET", path))
        assert_broken("ReadsAreCurrent", said, watching.settled)
        watching._witness.wrong.clear()


# Watches


def frame(type: str, revision: int, uid: str = "u") -> Tree:
    return {"type": type, "object": {"metadata": {"uid": uid, "resourceVersion": str(revision)}}}


def follow(cluster: SimulatedCluster, watching: Invariants, frames: Sequence[Tree]) -> list[tuple[str, str]]:
    """What is wrong with a watch of all ConfigMaps that tells this. Those of 5, 6 and 6 were changed since 4."""
    watching.world.began = 0
    watching.world.revisions("configmaps")[:] = [2, 4, 5, 6, 6]

    async def chunks() -> AsyncIterator[Tree]:
        for each in frames:
            yield each

    async def send(request: Request) -> Response:
        return Response(200, chunks())

    async def read() -> None:
        request = Request("GET", "/api/v1/configmaps", (("watch", "true"), ("resourceVersion", "4")))
        async for _ in (await watching._witness(request, "somebody", send)).body:
            pass

    cluster.run(read())
    found = [(rule, why) for rule, _, why in watching._witness.wrong]
    watching._witness.wrong.clear()
    return found


WHO = "somebody: /api/v1/configmaps"


@pytest.mark.parametrize(
    ("frames", "rule", "said"),
    [
        ([frame("ADDED", 5), frame("MODIFIED", 5)], "WatchesAreInOrder", "was told of 5 again"),
        ([frame("ADDED", 5), frame("ADDED", 6), frame("ADDED", 5)], "WatchesAreInOrder", "was told of 5 after 6"),
        ([frame("ADDED", 6)], "WatchesHaveNoGaps", "was told of 6, and not of 5"),
        (
            [frame("ADDED", 5), frame("BOOKMARK", 6, "")],
            "WatchesHaveNoGaps",
            "has a bookmark at 6, and was not told of 6",
        ),
        ([frame("ADDED", 5), frame("ADDED", 6, "a"), frame("BOOKMARK", 9, "")], "WatchesHaveNoGaps", "not told of 6"),
    ],
)
def test_a_watch_is_whole(
    cluster: SimulatedCluster, watching: Invariants, frames: list[Tree], rule: str, said: str
) -> None:
    """Twice, out of order, with something left out, or with a bookmark that is ahead."""
    ((found, why),) = follow(cluster, watching, frames)
    assert found == rule
    assert why.startswith(WHO)
    assert said in why


def test_a_whole_watch_is_right(cluster: SimulatedCluster, watching: Invariants) -> None:
    """Two objects of one transaction, and bookmarks behind what was told."""
    told = [frame("ADDED", 5), frame("BOOKMARK", 5, ""), frame("ADDED", 6, "a"), frame("ADDED", 6, "b")]
    assert follow(cluster, watching, [*told, frame("BOOKMARK", 9, "")]) == []


@pytest.mark.usefixtures("watching")
def test_a_lost_event_is_seen_when_it_happens(cluster: SimulatedCluster) -> None:
    """In a cluster: a server that leaves out what a controller should see is found by the next event."""

    async def lossy(request: Request, identity: str, send: Any) -> Response:
        response = await send(request)
        if request.path == "/api/v1/configmaps" and request.param("watch"):
            response.body = without_the_second(response.body)
        return response

    async def without_the_second(body: Any) -> AsyncIterator[Any]:
        count = 0
        async for chunk in body:
            count += 1
            if count != 2:
                yield chunk

    cluster.doors.interceptors.append(lossy)
    for stream in list(cluster.doors.streams):
        stream.cut()
    cluster.advance(5)
    cluster.create(trees.config_map("a"))
    cluster.create(trees.config_map("b"))
    assert_broken("WatchesHaveNoGaps", "and not of", lambda: cluster.create(trees.config_map("c")))


# Nodes


def started(cluster: SimulatedCluster) -> ContainerState:
    """The container of a pod, which runs."""
    cluster.create(trees.pod("one"))
    cluster.advance(10)
    (state,) = [state for states in cluster.running().values() for state in states]
    return state


def test_a_container_runs_once(
    cluster: SimulatedCluster, watching: Invariants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on another node, or under another id on the same one."""
    state = started(cluster)
    watching.settled()
    again = dataclasses.replace(state, id="b" * 64)
    assert nodes.twice({"a": [state], "b": [dataclasses.replace(state, pod_uid="other")]}) == ""
    assert "and on a as bbbbbbbbbbbb" in nodes.twice({"a": [state, again]})
    monkeypatch.setattr(cluster, "running", lambda: {"a": [state], "b": [again]})
    assert_broken(
        "ContainersRunOnce",
        "container main of pod default/one runs on a as .* and on b as bbbbbbbbbbbb",
        lambda: cluster.create(trees.pod("two")),
    )


def test_nodes_run_what_is_wanted(
    cluster: SimulatedCluster, watching: Invariants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of nobody's, and one that is said to run and does not."""
    state = started(cluster)
    node = cluster.get(POD, "one", "default")["spec"]["nodeName"]
    stray = dataclasses.replace(state, pod_uid="gone", pod_name="gone")
    monkeypatch.setattr(cluster, "running", lambda: {node: [state, stray]})
    assert_broken("NodesRunWhatIsWanted", f"{node} runs main of pod default/gone, which is not bound", watching.settled)
    monkeypatch.setattr(cluster, "running", lambda: {node: []})
    assert_broken("ContainerStatusesAreTrue", "pod default/one says that container main runs as", watching.settled)
    monkeypatch.setattr(cluster, "running", dict)  # its node is down
    watching.settled()
