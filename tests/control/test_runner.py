"""The runner carries out plans through the API: slow start, conflicts, and waiting for its own writes."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Key, Plan
from sampan.control.runner import Runner
from sampan.control.steps import Steps
from sampan.control.view import View
from sampan.controllers import replica_set
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.pod import POD
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.meta import objects, status
from sampan.web.message import Request

sys.path.insert(0, str(Path(__file__).parent))
from fake_api import FakeApi

SET = "/apis/apps/v1/namespaces/default/replicasets"
PODS = "/api/v1/namespaces/default/pods"


def a_set(replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    metadata = {"name": "web", "namespace": "default", "uid": "u1", "generation": 1}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    yield FakeApi()


@pytest.fixture
async def runner(api: FakeApi) -> AsyncIterator[Runner]:
    tasks = Tasks("test")
    made = Runner(Client(api, "test"), (replica_set.CONTROLLER,), SystemClock(), SeededIds(1), tasks)
    await made.start()
    await made.wait_synced()
    yield made
    await made.stop()
    await tasks.close()


def pods(api: FakeApi) -> int:
    return sum(path.startswith(PODS) for path in api.objects)


async def settled(runner: Runner, replicas: int) -> None:
    cache = next(c for name, c in runner.caches.items() if name == "replicasets.apps")
    await cache.wait_until(lambda: any((o.get("status") or {}).get("replicas") == replicas for o in cache))


async def test_pods_are_created_once_and_told(api: FakeApi, runner: Runner) -> None:
    """Seven replicas make exactly seven pods, each with its event, though the rule runs many times."""
    await api.put(f"{SET}/web", a_set(7))
    await settled(runner, 7)
    await runner.recorder.wait_written()
    assert pods(api) == 7
    events = [o for p, o in api.objects.items() if "/events/" in p]
    assert {e["reason"] for e in events} == {"SuccessfulCreate"}
    assert len(events) == 7
    assert events[0]["message"].startswith("Created pod: web-")
    assert events[0]["source"] == {"component": "replicaset-controller"}


async def test_a_refused_creation_stops_the_slow_start(api: FakeApi, runner: Runner) -> None:
    """A quota that is used up costs one refused request at a time, and shows as ReplicaFailure."""
    tried = 0

    def refuse(request: Request) -> Any:
        nonlocal tried
        if request.method == "POST" and request.path == PODS and tried < 3:
            tried += 1
            return status.forbidden("", "pods", "web-x", "exceeded quota")
        return None

    api.refuse = refuse
    await api.put(f"{SET}/web", a_set(50))
    await settled(runner, 50)
    refused = [i for i, r in enumerate(api.requests) if r == ("POST", PODS)][:3]
    between = [api.requests[i] for i in range(refused[0], refused[1])]
    assert ("PUT", f"{SET}/web/status") in between, "the refusal is told before it is tried again"
    assert pods(api) == 50
    assert runner.metrics["replicaset-controller", "refused"] == 3


async def test_a_conflict_is_tried_again(api: FakeApi, runner: Runner) -> None:
    """A write that meets a newer version is made anew from it."""
    conflicts = 2

    def refuse(request: Request) -> Any:
        nonlocal conflicts
        if request.method == "PUT" and conflicts:
            conflicts -= 1
            return status.conflict("apps", "replicasets", "web")
        return None

    api.refuse = refuse
    await api.put(f"{SET}/web", a_set(1))
    await settled(runner, 1)
    assert runner.metrics["replicaset-controller", "conflict"] == 2
    assert pods(api) == 1


async def test_own_writes_are_seen_before_the_next_look(api: FakeApi, runner: Runner) -> None:
    """While watches are late, the key isn't looked at again, so no pod is created twice."""
    await api.put(f"{SET}/web", a_set(3))
    cache = runner.caches["replicasets.apps"]
    await cache.wait_until(lambda: len(cache) == 1)
    api.watch_gate.clear()
    for _ in range(200):
        await SystemClock().sleep(0)
    for worker in runner.workers:
        worker.queue.add(("default", "web"))
    for _ in range(200):
        await SystemClock().sleep(0)
    assert pods(api) <= 3
    api.watch_gate.set()
    await settled(runner, 3)
    assert pods(api) == 3


async def test_what_does_not_matter_makes_nothing_due(api: FakeApi) -> None:
    """A watch may leave out changes; and what a plan says to keep is there at the next look, until it is forgotten."""
    seen: list[Any] = []

    def look(view: View, key: Key, now: float) -> Plan:
        seen.append(view.memory.get("looks", 0))
        forgets = seen[-1] == 2
        return Plan(memory={} if forgets else {"looks": seen[-1] + 1})

    def is_labelled(old: Any, new: Any) -> bool:
        return old is None or new is None or objects.labels(old) != objects.labels(new)

    watch = Watch(POD, lambda view, p: [("default", "web")], is_labelled)
    controller = Controller(name="looker", parent=REPLICASET, reconcile=look, watches=(watch,))
    tasks = Tasks("test")
    runner = Runner(Client(api, "test"), (controller,), SystemClock(), SeededIds(1), tasks)
    await runner.start()
    await runner.wait_synced()
    for number, phase, label in ((1, "Pending", "a"), (2, "Running", "a"), (3, "Running", "b"), (4, "Failed", "b")):
        metadata = {"name": "web-a", "namespace": "default", "uid": "p", "labels": {"app": label}}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}}
        stored = await api.put(f"{PODS}/web-a", made)
        await runner.caches["pods"].wait_seen(stored["metadata"]["resourceVersion"])
        await _quiet()
        assert len(seen) == (1 if number < 3 else 2)
    for _ in range(2):
        runner.workers[0].queue.add(("default", "web"))
        await _quiet()
    assert seen == [0, 1, 2, 0]
    await runner.stop()
    await tasks.close()


async def test_a_mapping_that_fails_over_one_object_stops_nothing(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells which object it was, and what others make due is looked at."""
    seen: list[Key] = []

    def look(view: View, key: Key, now: float) -> Plan:
        seen.append(key)
        return Plan()

    def owner(view: View, p: Any) -> list[Key]:
        return [("default", p["metadata"]["labels"]["app"])]

    controller = Controller(name="looker", parent=REPLICASET, reconcile=look, watches=(Watch(POD, owner),))
    tasks = Tasks("test")
    runner = Runner(Client(api, "test"), (controller,), SystemClock(), SeededIds(1), tasks)
    await runner.start()
    await runner.wait_synced()
    for name, labels in (("bad", {}), ("good", {"labels": {"app": "web"}})):
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", **labels}}
        stored = await api.put(f"{PODS}/{name}", made)
        await runner.caches["pods"].wait_seen(stored["metadata"]["resourceVersion"])
    await _quiet()
    assert seen == [("default", "web")]
    assert "looker: a change of Pod default/bad makes nothing due" in caplog.text
    await runner.stop()
    await tasks.close()


async def test_a_parent_that_does_not_matter_is_never_due(api: FakeApi) -> None:
    """Neither when it is there at first, nor when it changes."""
    seen: list[str] = []

    def look(view: View, key: Key, now: float) -> Plan:
        seen.append(key[1])
        return Plan()

    controller = Controller(
        name="looker",
        parent=POD,
        reconcile=look,
        matters=lambda old, new: new is not None and objects.labels(new).get("app") == "web",
    )
    tasks = Tasks("test")
    runner = Runner(Client(api, "test"), (controller,), SystemClock(), SeededIds(1), tasks)

    async def put(name: str, app: str) -> str:
        metadata = {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}}
        stored = await api.put(f"{PODS}/{name}", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
        return str(stored["metadata"]["resourceVersion"])

    await put("old-web", "web")
    await put("old-db", "db")
    await runner.start()
    await runner.wait_synced()
    await _quiet()
    await put("db", "db")
    await runner.caches["pods"].wait_seen(await put("web", "web"))
    await _quiet()
    assert seen == ["old-web", "web"]
    await runner.stop()
    await tasks.close()


async def test_what_was_gone_already_is_not_told_as_deleted(api: FakeApi, runner: Runner) -> None:
    """Somebody was faster: there is an event for the pod that was deleted, and none for the other."""
    faster: list[str] = []

    def refuse(request: Request) -> Any:
        if request.method != "DELETE" or faster:
            return None
        faster.append(request.path)
        gone = api.objects.pop(request.path)
        api.revision += 1
        metadata = {**gone["metadata"], "resourceVersion": str(api.revision)}
        api.log.append((api.revision, "DELETED", request.path, {**gone, "metadata": metadata}))
        return status.not_found("", "pods", gone["metadata"]["name"])

    await api.put(f"{SET}/web", a_set(2))
    await settled(runner, 2)
    api.refuse = refuse
    await api.put(f"{SET}/web", a_set(0) | {"metadata": a_set(0)["metadata"] | {"generation": 2}})
    await settled(runner, 0)
    await runner.recorder.wait_written()
    events = [o["message"] for p, o in api.objects.items() if "/events/" in p and o["reason"] == "SuccessfulDelete"]
    assert len(events) == 1
    assert not events[0].endswith(faster[0].rpartition("/")[2])


async def _quiet() -> None:
    for _ in range(50):
        await SystemClock().sleep(0)


async def test_a_look_in_steps_gives_way(api: FakeApi) -> None:
    """Another key is looked at between two steps; the plan at the end is carried out."""
    seen: list[str] = []

    def look(view: View, key: Key, now: float) -> Steps[Plan]:
        for number in range(3):
            seen.append(f"{key[1]}{number}")
            yield
        return Plan(memory={"is": key[1]})

    controller = Controller(name="looker", parent=POD, reconcile=lambda view, key, now: Plan(), steps=look)
    tasks = Tasks("test")
    runner = Runner(Client(api, "test"), (controller,), SystemClock(), SeededIds(1), tasks)
    for name in ("a", "b"):
        metadata = {"name": name, "namespace": "default", "uid": name}
        await api.put(f"{PODS}/{name}", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    await runner.start()
    await runner.wait_synced()
    await _quiet()
    assert sorted(seen) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert seen.index("b0") < seen.index("a2")
    assert runner.workers[0].view(("default", "b"), {}).memory == {"is": "b"}
    await runner.stop()
    await tasks.close()


async def test_what_cannot_be_judged_matters(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    """An object at which the question fails whether it matters is looked at, and the log tells which it was."""
    seen: list[Key] = []

    def look(view: View, key: Key, now: float) -> Plan:
        seen.append(key)
        return Plan()

    def is_ready(old: Any, new: Any) -> bool:
        return bool(new["status"]["ready"])

    def later(old: Any, new: Any, now: float) -> float:
        return float(new["status"]["seconds"])

    watch = Watch(POD, lambda view, p: [("default", "of-pod")], is_ready)
    controller = Controller(
        name="looker", parent=REPLICASET, reconcile=look, watches=(watch,), matters=is_ready, postpone=later
    )
    tasks = Tasks("test")
    runner = Runner(Client(api, "test"), (controller,), SystemClock(), SeededIds(1), tasks)
    sets = PODS.replace("/api/v1", "/apis/apps/v1").replace("pods", "replicasets")
    made = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "first", "namespace": "default"}}
    await api.put(f"{sets}/first", made)
    await runner.start()
    await runner.wait_synced()
    await _quiet()
    for path, kind in ((f"{PODS}/a", "Pod"), (f"{sets}/second", "ReplicaSet")):
        metadata = {"name": path.rpartition("/")[2], "namespace": "default"}
        stored = await api.put(path, {"kind": kind, "metadata": metadata})
        resource = "pods" if kind == "Pod" else "replicasets.apps"
        await runner.caches[resource].wait_seen(stored["metadata"]["resourceVersion"])
    await _quiet()
    assert set(seen) == {("default", "first"), ("default", "of-pod"), ("default", "second")}
    assert "looker: a change of Pod default/a counts as one" in caplog.text
    assert not tasks.is_closed
    await runner.stop()
    await tasks.close()
