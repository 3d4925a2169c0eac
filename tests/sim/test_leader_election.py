"""Two control planes on one store: one works at a time, wherever the other one dies, and nothing is done twice."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sampan.client.api import CALM, Client
from sampan.cluster.aim import Aim
from sampan.cluster.doors import Doors, Send
from sampan.cluster.interceptors import Isolating
from sampan.cluster.plane import Plane, surroundings
from sampan.cluster.simulated import ADMIN, Change, SimulatedCluster
from sampan.cluster.workers import PEERS, Elected
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.batch.job import JOB
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.pod import POD
from sampan.kit.dice import Dice
from sampan.meta import conditions, objects
from sampan.web.message import Request, Response
from tests import thorough
from tests.sim import trees

NAMES = ("kube-controller-manager", "kube-scheduler")
WORKERS = {peer.common_name for peer in PEERS.values()}
LEASE_SECONDS = 15.0
MOST_WRITES = 66
"""The story has about 70 transactions."""


@dataclass(frozen=True)
class Written:
    """What a control plane's workers wrote, but for leases and events."""

    time: float
    plane: str
    user: str
    what: str


class Planes(SimulatedCluster):
    """A cluster whose server, controllers and scheduler run twice. Nodes reach the one that is `led_to`."""

    def __init__(self, nodes: int = 2) -> None:
        super().__init__(seed=1, nodes=nodes)
        self.written: list[Written] = []
        self.planes: dict[str, tuple[Plane, Doors]] = {}

    def start(self) -> None:
        super().start()
        self.crash_control_plane()
        self.add("a")
        self.lead_to("a")
        self.advance(3)
        self.add("b")
        self.advance(3)

    def add(self, name: str) -> None:
        """Starts another control plane."""
        doors = Doors()
        doors.interceptors.append(self._note(name))
        around = replace(surroundings(self.clock, self._ids, name), candidate=name)
        made = Plane(self.store, doors, around, self._token_key)
        made.make(self.settings)
        self._mind(made.tasks)
        self.planes[name] = made, doors
        self.run(made.start())

    def lead_to(self, name: str) -> None:
        """What nodes and our own client talk to, as behind a load balancer."""
        self._plane = self.planes[name][0]
        self.doors.lead_to(self._plane.app)

    def client_of(self, name: str) -> Client:
        return Client(self.planes[name][1].door(ADMIN), "test", watch=CALM)

    def leaders(self) -> dict[str, list[str]]:
        """Who works at this moment, by the leases' names."""
        found: dict[str, list[str]] = {name: [] for name in NAMES}
        for plane, (made, _) in self.planes.items():
            assert isinstance(made.workers, Elected)
            for name, leading in made.workers._leading.items():
                found[name] += [plane] if leading.leads else []
        return found

    def lease(self, name: str) -> dict[str, Any]:
        found = self.get(LEASE, name, "kube-system")
        assert found is not None
        return dict(found["spec"])

    def turns(self, user: str) -> list[str]:
        """Which planes wrote as this user, one after another."""
        planes = [w.plane for w in self.written if w.user == user]
        return [name for name, before in zip(planes, ["", *planes], strict=False) if name != before]

    def _note(self, name: str) -> Any:
        async def note(request: Request, user: str, on: Send) -> Response:
            is_told = "/events" in request.path or "/leases" in request.path
            if user in WORKERS and request.method != "GET" and not is_told:
                self.written.append(Written(self.time, name, user, f"{request.method} {request.path}"))
            return await on(request)

        return note


@pytest.fixture
def planes() -> Any:
    with Planes() as made:
        yield made


def test_one_of_two_works(planes: Planes) -> None:
    """The first one, for as long as it renews its leases each 2 s; the other one waits."""
    planes.create(trees.deployment(3))
    planes.advance(60)
    assert planes.leaders() == {name: ["a"] for name in NAMES}
    assert len(planes.list(POD)) == 3
    assert {written.plane for written in planes.written} == {"a"}
    for name in NAMES:
        lease = planes.lease(name)
        assert (lease["holderIdentity"], lease["leaseDurationSeconds"], lease["leaseTransitions"]) == ("a", 15, 0)
    renewed = [c for c in planes.history if c.key == "kube-system/kube-scheduler" and c.time > planes.time - 20]
    assert len(renewed) == 10


def test_beginnings_and_ends_are_told(planes: Planes) -> None:
    """By an event about the lease."""
    planes.run(planes.planes["a"][0].stop())
    planes.lead_to("b")
    planes.advance(5)
    found = [e for e in planes.list(EVENT, "kube-system") if e["reason"] == "LeaderElection"]
    told = sorted((e["involvedObject"]["name"], e["source"]["component"], e["message"]) for e in found)
    texts = ("a became leader", "a stopped leading", "b became leader")
    sources = (("kube-controller-manager", "kube-controller-manager"), ("kube-scheduler", "default-scheduler"))
    assert told == [(*source, text) for source in sources for text in texts]
    assert {(e["involvedObject"]["kind"], e["type"]) for e in found} == {("Lease", "Normal")}


def test_a_control_plane_that_is_stopped_hands_over(planes: Planes) -> None:
    """At once: its leases are given back when its work has ended."""
    planes.create(trees.deployment(3))
    planes.advance(5)
    stopped_at = planes.time
    planes.run(planes.planes["a"][0].stop())
    planes.lead_to("b")
    planes.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 5}})
    planes.run_until(lambda: _is_available(planes, 5), within=10)
    assert planes.time - stopped_at < 8
    assert planes.leaders() == {name: ["b"] for name in NAMES}
    assert planes.turns("system:kube-controller-manager") == ["a", "b"]


def test_who_is_cut_off_stops_before_the_other_begins(planes: Planes) -> None:
    """10 s after it renewed its lease for the last time; the other one begins 15 s after that. Then it waits itself."""
    planes.create(trees.deployment(2))
    planes.advance(20)
    cut_at, doors = planes.time, planes.planes["a"][1]
    isolating = Isolating(Aim(users=tuple(WORKERS)), Dice(1, "cut"))
    doors.interceptors.append(isolating)
    spans: dict[str, list[float]] = {"a": [], "b": []}

    def look(_: Change) -> None:
        for at in planes.leaders()["kube-controller-manager"]:
            spans[at].append(planes.time)

    planes.observe(look)
    for _ in range(200):
        planes.advance(0.1)
        assert all(len(names) <= 1 for names in planes.leaders().values())
        for at in planes.leaders()["kube-controller-manager"]:
            spans[at].append(planes.time)
    ended, begun = max(spans["a"]) - cut_at, min(spans["b"]) - cut_at
    assert 7.9 <= ended <= 10.1
    assert 12.9 <= begun <= 17.1
    doors.interceptors.remove(isolating)
    planes.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 3}})
    planes.advance(20)
    assert planes.leaders() == {name: ["b"] for name in NAMES}
    assert len(planes.list(POD)) == 3
    assert planes.turns("system:kube-controller-manager")[-1] == "b"
    assert planes.lease("kube-scheduler")["leaseTransitions"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", thorough.each(3, range(1, MOST_WRITES)))
def test_wherever_the_leader_dies(number: int) -> None:
    """At any write of a small story: the other one ends it, begins after the lease, and makes nothing twice."""
    with Planes() as planes:
        began, writes = len(planes.history), set()
        killed_at = 0.0

        def kill(change: Change) -> None:
            nonlocal killed_at
            writes.add(change.tree["metadata"]["resourceVersion"])
            if len(writes) == number and not killed_at:
                killed_at = planes.time
                planes.planes["a"][0].kill()
                planes.loop.call_soon(planes.lead_to, "b")

        planes.observe(kill)
        client = planes.client_of("b")
        orders = {"run_seconds": "3"}
        planes.run(client.create(DEPLOYMENT, trees.deployment(3)))
        planes.run(client.create(JOB, trees.job(completions=3, parallelism=2, orders=orders)))
        planes.advance(60)
        assert killed_at, f"only {len(writes)} writes"
        _check_end(planes, began)
        for user in WORKERS:
            written = [w for w in planes.written if w.user == user]
            assert planes.turns(user) in (["a", "b"], ["b"], ["a"])
            late = [w for w in written if w.plane == "b"]
            assert not late or late[0].time - killed_at >= LEASE_SECONDS - 2.1


def _is_available(planes: Planes, replicas: int) -> bool:
    found = planes.get(DEPLOYMENT, "web", "default")
    return bool(found and found.get("status", {}).get("availableReplicas") == replicas)


def _check_end(planes: Planes, began: int) -> None:
    """As in a cluster that nothing happened to: each pod was made once."""
    assert _is_available(planes, 3)
    job = planes.get(JOB, "sum", "default")
    assert job is not None
    assert conditions.is_true(job, "Complete")
    made = [change.tree for change in planes.history[began:] if change.resource == "pods" and change.type == "ADDED"]
    owners = Counter(owner["kind"] for tree in made if (owner := objects.controller_of(tree)) is not None)
    assert owners == {"ReplicaSet": 3, "Job": 3}
