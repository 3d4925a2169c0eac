"""The scheduler over a small fake of the API, in virtual time."""

import asyncio
import gc
import logging
from collections import defaultdict
from typing import Any

import pytest
from making import node, pod

from sampan.client.api import Listing, WatchEvent
from sampan.client.transport import Transport, TransportError
from sampan.kit.frozen import freeze, thaw
from sampan.kit.ids import SeededIds
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.meta import status
from sampan.scheduling import config, cycle
from sampan.scheduling import loop as loop_module
from sampan.scheduling.extending import ExtenderError
from sampan.scheduling.framework import Extra
from sampan.scheduling.loop import Scheduler
from sampan.web.message import Request, Response


class FakeApi:
    """Lists, watches, binds and patches as far as the scheduler asks."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Any, Any]] = defaultdict(dict)
        self.streams: dict[str, asyncio.Queue[WatchEvent]] = {}
        self.revision = 1
        self.bindings: list[tuple[str, str]] = []
        self.refuse: Any = None
        self.patches = 0

    def nothing(self, kind: Any) -> str:
        return ""

    def put(self, plural: str, obj: Any) -> None:
        obj = thaw(obj)
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        kind = "MODIFIED" if key in self.objects[plural] else "ADDED"
        self.objects[plural][key] = freeze(obj)
        if plural in self.streams:
            self.streams[plural].put_nowait(WatchEvent(kind, freeze(obj)))

    def remove(self, plural: str, key: Any) -> None:
        obj = thaw(self.objects[plural].pop(key))
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.streams[plural].put_nowait(WatchEvent("DELETED", freeze(obj)))

    async def list(self, kind, namespace="", *, labels="", fields=""):
        return Listing(tuple(self.objects.get(kind.plural, {}).values()), str(self.revision))

    async def watch(self, kind, namespace="", *, resource_version="", labels="", fields=""):
        stream = self.streams[kind.plural] = asyncio.Queue()
        while True:
            yield await stream.get()

    async def create_subresource(self, kind, key, subresource, body):
        await asyncio.sleep(0.01)
        if self.refuse is not None:
            raise self.refuse
        assert (kind.plural, subresource, body["kind"]) == ("pods", "binding", "Binding")
        obj = thaw(self.objects["pods"][key])
        obj["spec"]["nodeName"] = body["target"]["name"]
        self.bindings.append((key[1], body["target"]["name"]))
        self.put("pods", obj)

    async def get(self, kind, name, namespace=""):
        return self.objects[kind.plural][(namespace, name)]

    async def create(self, kind, obj, *, subresource=""):
        self.put(kind.plural, obj)

    async def patch(self, kind, key, patch, *, type="merge", subresource=""):
        self.patches += 1
        obj = thaw(self.objects[kind.plural][key])
        for name, value in patch.items():
            obj[name] = {**obj.get(name, {}), **value} if isinstance(value, dict) else value
        self.put(kind.plural, obj)


@pytest.fixture
def sim():
    loop = SimLoop()
    api, clock, tasks = FakeApi(), VirtualClock(loop), Tasks("test")
    profiles = {"profiles": [{"schedulerName": "default-scheduler"}, {"schedulerName": "packing"}]}
    configuration = config.read({"apiVersion": config.API_VERSION, "kind": config.KIND, **profiles})
    scheduler = Scheduler(api, clock, tasks, SeededIds(1), configuration)
    yield loop, api, scheduler
    loop.run_until_complete(scheduler.stop())
    loop.run_until_complete(tasks.close())
    assert loop.failures == []
    loop.close()


def start(sim, *nodes):
    loop, api, scheduler = sim
    for each in nodes:
        api.put("nodes", each)
    loop.run_until_complete(scheduler.start())
    return loop, api


def condition(api, name):
    return api.objects["pods"][("default", name)].get("status", {}).get("conditions", [None])[0]


def test_a_pod_gets_a_node_and_is_told(sim) -> None:
    """Bound through the binding subresource, with upstream's event."""
    loop, api = start(sim, node("a"))
    api.put("pods", pod("p"))
    loop.advance(1)
    assert api.bindings == [("p", "a")]
    (event,) = api.objects["events"].values()
    assert (event["type"], event["reason"], event["message"]) == (
        "Normal",
        "Scheduled",
        "Successfully assigned default/p to a",
    )
    assert (event["reportingComponent"], event["action"]) == ("default-scheduler", "Binding")


def test_what_is_assumed_counts_at_once(sim) -> None:
    """Pods decided before the first binding is confirmed do not overfill a node."""
    loop, api = start(sim, node("a", cpu="2"), node("b", cpu="2"))
    for n in range(5):
        api.put("pods", pod(f"p{n}", {"cpu": "1"}))
    loop.advance(1)
    assert sorted(where for _, where in api.bindings) == ["a", "a", "b", "b"]


def test_a_pod_that_fits_nowhere_is_told_and_placed_when_room_comes(sim) -> None:
    """Condition and event once; placed after its back-off when a node comes or a pod goes."""
    loop, api = start(sim, node("a", cpu="1"))
    api.put("pods", pod("big", {"cpu": "1"}))
    loop.advance(1)
    api.put("pods", pod("p", {"cpu": "1"}))
    loop.advance(20)
    told = condition(api, "p")
    assert (told["type"], told["status"], told["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert told["message"].startswith(
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
    )
    warnings = [e for e in api.objects["events"].values() if e["reason"] == "FailedScheduling"]
    assert [e["message"] for e in warnings] == [told["message"]]
    assert api.patches == 1
    api.remove("pods", ("default", "big"))
    loop.advance(1)
    assert api.bindings[-1] == ("p", "a")


def test_what_ends_before_its_first_step_leaves_nothing(sim, recwarn) -> None:
    """No coroutine is lost when the scheduler is killed between a decision and its binding."""
    loop, api, scheduler = sim
    start(sim, node("a"))
    begun = scheduler._tasks.spawn

    def killing(work, name, **options):
        begun(work, name, **options)
        scheduler._tasks.kill()

    scheduler._tasks.spawn = killing
    api.put("pods", pod("p"))
    loop.advance(1)
    gc.collect()
    assert api.bindings == []
    assert [str(warning.message) for warning in recwarn] == []


def test_a_failed_binding_is_tried_again(sim) -> None:
    """The node is free again and the pod comes back after its back-off."""
    loop, api = start(sim, node("a", cpu="1"))
    error = api.refuse = status.internal("no")
    api.put("pods", pod("p", {"cpu": "1"}))
    loop.advance(0.5)
    api.refuse = None
    assert api.bindings == []
    told = condition(api, "p")
    assert (told["reason"], told["message"]) == ("SchedulerError", f'running Bind plugin "DefaultBinder": {error}')
    loop.advance(5)
    assert api.bindings == [("p", "a")]


def test_each_profile_speaks_for_itself(sim) -> None:
    """A pod is placed by the profile that it names, which its events name too."""
    loop, api = start(sim, node("a"))
    api.put("pods", pod("p", schedulerName="packing"))
    loop.advance(1)
    assert api.bindings == [("p", "a")]
    (event,) = api.objects["events"].values()
    assert (event["reason"], event["reportingComponent"]) == ("Scheduled", "packing")


def test_what_is_said_again_and_again_is_written_now_and_then(sim) -> None:
    """The first and the second time, and then no more than every six minutes."""
    loop, api = start(sim, node("a", cpu="1"))
    api.put("pods", pod("p", {"cpu": "2"}))
    for _ in range(20):
        loop.advance(300)
    (event,) = api.objects["events"].values()
    assert event["series"]["count"] >= 19
    assert api.patches <= 1 + 2 + 6000 / 360


def test_pods_that_are_not_ours_are_left_alone(sim) -> None:
    """Another scheduler's, a deleted one, and one with gates, which is told so."""
    loop, api = start(sim, node("a"))
    api.put("pods", pod("other", schedulerName="mine"))
    api.put("pods", pod("gated", schedulingGates=[{"name": "x"}]))
    deleted = thaw(pod("deleted"))
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api.put("pods", deleted)
    loop.advance(30)
    assert api.bindings == []
    assert condition(api, "gated")["reason"] == "SchedulingGated"
    api.put("pods", pod("gated"))
    loop.advance(1)
    assert api.bindings == [("gated", "a")]


def test_finished_pods_free_their_node(sim) -> None:
    """A pod that succeeded or failed counts no more."""
    loop, api = start(sim, node("a", cpu="1"))
    api.put("pods", pod("p", {"cpu": "1"}))
    loop.advance(1)
    done = thaw(api.objects["pods"][("default", "p")])
    done["status"] = {"phase": "Succeeded"}
    api.put("pods", pod("q", {"cpu": "1"}))
    loop.advance(1)
    assert api.bindings == [("p", "a")]
    api.put("pods", done)
    loop.advance(2)
    assert api.bindings[-1] == ("q", "a")


class Meddling(Extra):
    """It is asked about nodes a chunk at a time, and takes one away while it is."""

    names = frozenset(("VolumeBinding",))
    reads_pods = False

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self.seen: list[int] = []

    def is_concerned(self, pod: Any) -> bool:
        return True

    def refuse(self, pod: Any) -> None:
        return None

    def filter(self, pod: Any, nodes: Any, snapshot: Any) -> list[None]:
        self.seen.append(len(snapshot))
        if len(self.seen) == 1:
            self._api.remove("nodes", ("", "n0"))
        return [None] * len(nodes)


def test_what_changes_during_a_decision_counts_after_it(sim) -> None:
    """The nodes stay the same as long as it is decided, although others have their turn meanwhile."""
    _, api, scheduler = sim
    meddling = Meddling(api)
    scheduler.extras = (meddling,)
    loop, _ = start(sim, *(node(f"n{n}") for n in range(300)))
    api.put("pods", pod("p"))
    loop.advance(1)
    assert meddling.seen == [300, 300, 300]
    api.put("pods", pod("q"))
    loop.advance(1)
    assert meddling.seen[3:] == [299, 299, 299]
    assert [name for name, _ in api.bindings] == ["p", "q"]


class Unreachable(Transport):
    """Where an extender is said to be, but is not."""

    async def request(self, request: Request) -> Response:
        raise TransportError("connection refused")


def errors_alive() -> list[ExtenderError]:
    """Asked by type: isinstance would ask what a weak proxy stands for, which may be gone."""
    return [each for each in gc.get_objects() if type(each) is ExtenderError]


@pytest.mark.parametrize("verb", ["filterVerb", "prioritizeVerb", "bindVerb"])
def test_a_failing_extender_leaves_no_garbage(verb: str, caplog: pytest.LogCaptureFixture) -> None:
    """What tells of it is freed with the attempt: no circle of objects waits for the collector."""
    caplog.set_level(logging.WARNING, "sampan.scheduling.loop")  # what is logged, tests keep
    loop = SimLoop()
    api, tasks = FakeApi(), Tasks("test")
    extender = {"urlPrefix": "http://extender.example", verb: "verb", "weight": 1}
    configuration = config.read({"apiVersion": config.API_VERSION, "kind": config.KIND, "extenders": [extender]})
    scheduler = Scheduler(api, VirtualClock(loop), tasks, SeededIds(1), configuration)
    asked = []
    scheduler.outside.door = lambda extender: asked.append(extender) or Unreachable()
    start((loop, api, scheduler), node("a"), node("b"))
    gc.collect()
    gc.disable()
    before = errors_alive()
    try:
        api.put("pods", pod("p"))
        loop.advance(5)
        assert asked
        assert [each for each in errors_alive() if each not in before] == []
    finally:
        gc.enable()
        loop.run_until_complete(scheduler.stop())
        loop.run_until_complete(tasks.close())
        loop.close()


def test_a_pod_at_which_we_fail_stops_no_other(sim, monkeypatch, caplog) -> None:
    """It is told, and tried again; so where we fail before a node is found as where we fail after it."""
    loop, api = start(sim, node("a", cpu="4"))
    scheduler, begin, take = sim[2], cycle.begin, sim[2]._take
    faults = {"early", "late"}

    def beginning(pod, *around):
        if pod.pod["metadata"]["name"] in faults & {"early"}:
            raise KeyError("type")
        return begin(pod, *around)

    def taking(pod, where):
        work = take(pod, where)
        if pod.pod["metadata"]["name"] in faults & {"late"}:
            raise KeyError("status")
        return work

    monkeypatch.setattr(cycle, "begin", beginning)
    monkeypatch.setattr(scheduler, "_take", taking)
    for name in ("early", "late", "good"):
        api.put("pods", pod(name, {"cpu": "1"}))
    loop.advance(0.5)
    assert api.bindings == [("good", "a")]
    assert [condition(api, name)["reason"] for name in ("early", "late")] == ["SchedulerError"] * 2
    assert scheduler.sizes()["pods"] == 1
    assert len([r for r in caplog.records if r.exc_info]) == 2
    faults.clear()
    loop.advance(10)
    assert sorted(api.bindings) == [("early", "a"), ("good", "a"), ("late", "a")]


def test_a_binding_at_which_we_fail_gives_the_room_back(sim, monkeypatch, caplog) -> None:
    """The pod is bound later."""
    loop, api = start(sim, node("a", cpu="1"))
    binding, faults = loop_module._binding, [KeyError("uid")]

    def made(pod, where):
        if faults:
            raise faults.pop()
        return binding(pod, where)

    monkeypatch.setattr(loop_module, "_binding", made)
    api.put("pods", pod("p", {"cpu": "1"}))
    loop.advance(0.5)
    assert (api.bindings, sim[2].sizes()["pods"]) == ([], 0)
    loop.advance(10)
    assert api.bindings == [("p", "a")]
    assert len([r for r in caplog.records if r.exc_info]) == 1


def test_a_change_that_is_not_taken_in_comes_again(sim, monkeypatch, caplog) -> None:
    """Also one that came during a decision."""
    loop, api = start(sim, node("a", cpu="4"))
    observer, faults = sim[2]._known, [KeyError("spec"), KeyError("spec")]
    consider = observer._consider

    def considering(old, new):
        if new["metadata"]["name"] == "odd" and faults:
            raise faults.pop()
        consider(old, new)

    monkeypatch.setattr(observer, "_consider", considering)

    async def decide() -> None:
        with observer.held():
            api.put("pods", pod("odd"))
            api.put("pods", pod("good"))
            await asyncio.sleep(0.1)

    loop.run_until_complete(decide())
    loop.advance(0.5)
    assert api.bindings == [("good", "a")]
    loop.advance(10)
    assert api.bindings == [("good", "a"), ("odd", "a")]
    assert len([r for r in caplog.records if r.exc_info]) == 2
