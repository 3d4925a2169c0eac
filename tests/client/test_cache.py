"""A cache follows the API: list, watch, 410 and broken connections."""

import sys
from pathlib import Path

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
