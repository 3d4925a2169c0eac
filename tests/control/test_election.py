"""Who may have a lease, by case documents; and what the fence does with a leader that wakes up late."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.control import election
from sampan.control.election import Candidate
from sampan.control.leading import Leading, Work
from sampan.control.plan import Create
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.kind import Object
from sampan.kit.frozen import freeze
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.meta import status, timestamps
from sampan.web.message import Request, Response

CASES = list(
    yaml.load_all((Path(__file__).parents[1] / "cases" / "control" / "election.yaml").read_text(), yaml.BaseLoader)
)
KEY = ("kube-system", "kube-controller-manager")
ME = Candidate("me", KEY)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["promise"])
def test_case(case: Any) -> None:
    """The lease afterwards is the written one."""
    written, given = case["then"], case["given"]
    lease = None if given in ("null", "") else {"metadata": {"name": KEY[1]}, "spec": _numbers(given)}
    found = election.claim(ME, freeze(lease), float(case["unchanged"]), timestamps.parse(case["now"]))
    verb = "create" if isinstance(found, Create) else "update"
    assert ({verb: found.obj["spec"]} if found is not None else {}) == {k: _numbers(v) for k, v in written.items()}


def _numbers(spec: Any) -> Object:
    return {key: int(value) if value.isdecimal() else value for key, value in spec.items()}


class Server:
    """Leases of one name in memory; while `is_down`, nobody reaches it."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.is_down = False
        self.written: list[str] = []

    async def request(self, request: Request) -> Response:
        if self.is_down:
            raise TransportError("connection refused")
        if "/leases" not in request.path:
            self.written.append(request.path)
            return Response(200, {"metadata": {"name": "x", "namespace": "default"}})
        if request.method == "GET":
            return Response(200, self.lease) if self.lease else _refused(404, "NotFound")
        made = request.body if isinstance(request.body, dict) else {}
        version = (self.lease or {"metadata": {}})["metadata"].get("resourceVersion", "0")
        if made["metadata"].get("resourceVersion", "0") != version:
            return _refused(409, "Conflict")
        metadata = {"name": KEY[1], "namespace": KEY[0], "uid": "u", "resourceVersion": str(int(version) + 1)}
        self.lease = {**made, "metadata": metadata}
        return Response(200, self.lease)

    async def close(self) -> None:
        """Nothing to let go of."""


def _refused(code: int, reason: str) -> Response:
    return Response(code, status.failure(code, reason, reason).status)


class World:
    """One server and its candidates in virtual time."""

    def __init__(self) -> None:
        self.loop = SimLoop()  # type: ignore[abstract]
        self.clock = VirtualClock(self.loop)
        self.server = Server()
        self.tasks = Tasks("test")
        self.told: list[tuple[float, str, str]] = []

    def candidate(self, name: str) -> Leading:
        client = Client(self.server, name)
        made = Leading(client, Candidate(name, KEY), self.clock, self.tasks, name)
        self.loop.call_soon(made.start, lambda tasks: self.work(name))
        return made

    def work(self, name: str) -> Work:
        def tell(what: str) -> Callable[[], Awaitable[None]]:
            async def told() -> None:
                self.told.append((self.loop.time(), name, what))

            return told

        return Work(tell("start"), tell("stop"), lambda: self.told.append((self.loop.time(), name, "kill")))


@pytest.fixture
def world() -> World:
    return World()


def test_one_leads_and_the_other_waits(world: World) -> None:
    """For as long as the first renews; both know that the work is under way."""
    first = world.candidate("a")
    world.loop.advance(1)
    second = world.candidate("b")
    settled = asyncio.ensure_future(second.wait_settled(), loop=world.loop)
    world.loop.advance(120)
    assert (first.leads, second.leads, settled.done()) == (True, False, True)
    assert world.told == [(0.0, "a", "start")]
    assert world.server.lease is not None
    assert world.server.lease["spec"]["leaseTransitions"] == 0


def test_who_cannot_renew_ends_before_another_begins(world: World) -> None:
    """After 10 s the work is killed; it begins again, here or there, 15 s after the last renewal at the earliest."""
    world.candidate("a")
    world.loop.advance(1)
    world.candidate("b")
    world.loop.advance(20)
    world.server.is_down = True
    world.loop.advance(30)
    assert [entry[1:] for entry in world.told] == [("a", "start"), ("a", "kill")]
    assert 28 <= world.told[1][0] <= 30
    world.server.is_down = False
    world.loop.advance(5)
    assert [entry[2] for entry in world.told] == ["start", "kill", "start"]


def test_a_stop_hands_over_at_once(world: World) -> None:
    """In peace, and with the lease given back."""
    first = world.candidate("a")
    world.loop.advance(1)
    world.candidate("b")
    world.loop.advance(9)
    world.loop.run_until_complete(first.stop())
    assert world.server.lease is not None
    assert "holderIdentity" not in world.server.lease["spec"]
    world.loop.advance(2)
    assert [entry[1:] for entry in world.told] == [("a", "start"), ("a", "stop"), ("a", "kill"), ("b", "start")]
    assert world.server.lease["spec"]["leaseTransitions"] == 1


def test_a_lease_that_somebody_else_took_ends_the_work(world: World) -> None:
    """However that came; at the next renewal."""
    world.candidate("a")
    world.loop.advance(9)
    assert world.server.lease is not None
    lease = world.server.lease
    metadata = {**lease["metadata"], "resourceVersion": "99"}
    world.server.lease = {"metadata": metadata, "spec": {**lease["spec"], "holderIdentity": "other"}}
    world.loop.advance(2.1)
    assert [entry[2] for entry in world.told] == ["start", "kill"]


def test_a_lease_that_is_deleted_is_made_anew(world: World) -> None:
    """By who led, whose work goes on."""
    world.candidate("a")
    world.loop.advance(9)
    world.server.lease = None
    world.loop.advance(5)
    assert [entry[2] for entry in world.told] == ["start"]
    assert world.server.lease is not None


def test_who_wakes_up_late_writes_nothing(world: World) -> None:
    """Whatever it was about to do while its process stood still: the fence looks at the time, not at timers."""
    leading = world.candidate("a")
    client = Client(leading.fenced(world.server), "work")
    write = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}}
    world.loop.advance(5)
    world.loop.run_until_complete(client.create(CONFIGMAP, write))
    before = len(world.server.written)
    world.loop._now += 12  # the process stood still; nothing that was due meanwhile has happened yet
    late = asyncio.ensure_future(client.create(CONFIGMAP, write), loop=world.loop)
    world.loop.settle()
    assert isinstance(late.exception(), TransportError)
    assert len(world.server.written) == before
