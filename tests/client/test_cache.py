"""A cache follows the API: list, watch, 410 and broken connections."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.client.cache import GONE_SECONDS, Cache
from sampan.kinds.core.pod import POD
from sampan.kit.clock import SystemClock
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks

sys.path.insert(0, str(Path(__file__).parent.parent / "control"))
from fake_api import FakeApi  # noqa: E402

PODS = "/api/v1/namespaces/default/pods"


def a_pod(name: str, **metadata: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", **metadata}}


async def test_objects_and_indexes_follow_changes() -> None:
    """What is created, relabelled and deleted shows in the objects, the indexes and to subscribers."""
    api, tasks = FakeApi(), Tasks("test")
    await api.put(f"{PODS}/a", a_pod("a", labels={"app": "x"}, ownerReferences=[{"uid": "o"}]))
    cache = Cache(Client(api, "test"), POD, clock=SystemClock(), tasks=tasks)
    seen: list[str] = []
    cache.subscribe(lambda change, old, new: seen.append(change))
    await cache.wait_synced()
    assert [p["metadata"]["name"] for p in cache.owned_by("o")] == ["a"]
    stored = await api.put(f"{PODS}/a", a_pod("a", labels={"app": "y"}))
    await cache.wait_seen(stored["metadata"]["resourceVersion"])
    assert not cache.owned_by("o")
    assert not cache.labelled("default", {"app": "x"})
    assert len(cache.labelled("default", {"app": "y"})) == 1
    await Client(api, "test").delete(POD, ("default", "a"))
    await cache.wait_until(lambda: len(cache) == 0)
    assert seen == ["ADDED", "MODIFIED", "DELETED"]
    await tasks.close()


async def test_an_end_is_known_only_from_a_watch() -> None:
    """The uid of what was deleted is known as gone; that of what a new list lacks is not, nor that of what is there."""
    api, tasks = FakeApi(), Tasks("test")
    for name in ("a", "b", "c"):
        await api.put(f"{PODS}/{name}", a_pod(name, uid=f"uid-{name}"))
    cache = Cache(Client(api, "test"), POD, clock=SystemClock(), tasks=tasks)
    await cache.wait_synced()
    await Client(api, "test").delete(POD, ("default", "a"))
    await cache.wait_until(lambda: len(cache) == 2)
    other = Cache(Client(api, "test"), POD, clock=SystemClock(), tasks=tasks)
    other.continue_from(cache)
    del api.objects[f"{PODS}/b"]
    await cache._relist()
    assert [p["metadata"]["name"] for p in cache] == ["c"]
    assert [uid for uid in ("uid-a", "uid-b", "uid-c") if cache.saw_go(uid)] == ["uid-a"]
    assert other.saw_go("uid-a")
    await tasks.close()


def test_ends_are_known_for_minutes() -> None:
    """What went long ago is forgotten when more goes."""
    loop = SimLoop()
    cache = Cache(Client(FakeApi(), "test"), POD, clock=VirtualClock(loop), tasks=Tasks("test"))
    cache._note_end(a_pod("a", uid="uid-a"))
    loop.advance(GONE_SECONDS)
    cache._note_end(a_pod("b", uid="uid-b"))
    assert cache.saw_go("uid-a")
    loop.advance(1)
    cache._note_end(a_pod("c", uid="uid-c"))
    assert [uid for uid in ("uid-a", "uid-b", "uid-c") if cache.saw_go(uid)] == ["uid-b", "uid-c"]
    loop.advance(GONE_SECONDS - 1)
    cache._note_end(a_pod("b", uid="uid-b"))  # told again
    loop.advance(2)
    cache._note_end(a_pod("d", uid="uid-d"))
    assert [uid for uid in ("uid-b", "uid-c", "uid-d") if cache.saw_go(uid)] == ["uid-b", "uid-d"]


async def test_an_expired_version_is_listed_anew() -> None:
    """After a 410 the cache holds what is there, and tells what went meanwhile."""
    api, tasks = FakeApi(), Tasks("test")
    await api.put(f"{PODS}/a", a_pod("a"))
    api.oldest = 10
    cache = Cache(Client(api, "test"), POD, clock=SystemClock(), tasks=tasks)
    await cache.wait_synced()
    del api.objects[f"{PODS}/a"]
    api.revision = 20
    await api.put(f"{PODS}/b", a_pod("b"))
    await cache.wait_until(lambda: [p["metadata"]["name"] for p in cache] == ["b"])
    await tasks.close()


async def test_a_subscriber_that_fails_at_one_object_hears_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, told again later, and nobody else is the worse for it."""
    api, tasks, heard, asked = FakeApi(), Tasks("test"), list[str](), list[str]()

    def change(change: str, old: Any, new: Any) -> None:
        name = new["metadata"]["name"]
        asked.append(name)
        if name == "bad" and asked.count(name) == 1:
            raise KeyError("type")
        heard.append(name)

    cache = Cache(Client(api, "test"), POD, clock=Hurried(), tasks=tasks)
    also: list[str] = []
    cache.subscribe(change)
    cache.subscribe(lambda change, old, new: also.append(new["metadata"]["name"]))
    for name in ("bad", "good"):
        await api.put(f"{PODS}/{name}", a_pod(name))
    await cache.wait_synced()
    while len(heard) < 2:
        await asyncio.sleep(0)
    assert (heard, also) == (["good", "bad"], ["bad", "good"])
    assert [r.exc_info is not None for r in caplog.records] == [True]
    await tasks.close()


async def test_a_change_that_is_out_of_date_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    """What came after it has been told."""
    api, tasks, clock = FakeApi(), Tasks("test"), Hurried()
    clock.may_go.clear()
    told: list[str] = []

    def change(change: str, old: Any, new: Any) -> None:
        told.append(new["metadata"]["labels"]["app"])
        if told == ["x"]:
            raise KeyError("type")

    cache = Cache(Client(api, "test"), POD, clock=clock, tasks=tasks)
    cache.subscribe(change)
    await api.put(f"{PODS}/a", a_pod("a", labels={"app": "x"}))
    await cache.wait_synced()
    stored = await api.put(f"{PODS}/a", a_pod("a", labels={"app": "y"}))
    await cache.wait_seen(stored["metadata"]["resourceVersion"])
    clock.may_go.set()
    while len(tasks) > 1:
        await asyncio.sleep(0)
    assert told == ["x", "y"]
    await tasks.close()


class Hurried(SystemClock):
    """Sleeps not at all, or until it may go on."""

    def __init__(self) -> None:
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def sleep(self, seconds: float) -> None:
        await self.may_go.wait()
