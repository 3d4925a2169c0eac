"""The runner carries out plans through the API: slow start, conflicts, and waiting for its own writes."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.control.runner import Runner
from sampan.controllers import replica_set
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.meta import status
from sampan.web.message import Request

sys.path.insert(0, str(Path(__file__).parent))
from fake_api import FakeApi  # noqa: E402

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
