"""One user asks for far more than a fair share: that one is sent away, and nobody else learns of it."""

import asyncio
from typing import Any

import orjson
import pytest

from sampan.server import cache, watching
from sampan.server.cache import Change, Item, KindCache
from sampan.server.watch_rounds import Rounds
from sampan.server.watching import Subscription
from sampan.web.message import Peer, Request, Response
from tests.server.configured import configured
from tests.server.conftest import Api, config_map
from tests.server.test_flow_control import grant

MAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
FLOOD, JANE = Peer("flood"), Peer("jane")
NODE = Peer("system:node:n1", ("system:nodes",))
SCHEDULER = Peer("system:kube-scheduler")
MANAGER = Peer("system:kube-controller-manager")


def lease(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 15},
    }  # fmt: skip


async def flood(api: Api, count: int) -> list["asyncio.Future[Response]"]:
    """So many watches that nobody reads: each holds what it has got."""
    asked = [
        asyncio.ensure_future(api.app.handle(Request("GET", MAPS, (("watch", "true"),), {}, peer=FLOOD)))
        for _ in range(count)
    ]
    for _ in range(100):
        await asyncio.sleep(0)
    return asked


async def release(asked: list["asyncio.Future[Response]"]) -> list[Response]:
    """Lets go of all; returns what was answered."""
    for each in asked:
        each.cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    answered = [each for each in found if isinstance(each, Response)]
    for each in answered:
        body: Any = each.body
        if each.status == 200:
            await body.aclose()
    return answered


async def test_a_flood_harms_only_who_floods() -> None:
    """429 with Retry-After for it; health, node leases, elections, administrators and other users go on, each time."""
    async with configured() as api:
        await api.create(MAPS, config_map("m"))
        for user in ("flood", "jane"):
            await grant(api, user)
        await api.create("/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}})
        await api.create(f"{LEASES}/kube-node-lease/leases", lease("n1"))
        await api.create(f"{LEASES}/kube-system/leases", lease("kube-scheduler"))
        asked = await flood(api, 1500)
        refused = [each.result() for each in asked if each.done() and each.result().status == 429]
        assert len(refused) > 500
        assert refused[0].headers["Retry-After"] == "1" and b"TooManyRequests" in bytes(refused[0].body)  # type: ignore[arg-type]
        assert {"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"} <= set(refused[0].headers)
        held = api.app.flow.busy
        for _ in range(20):
            for path in ("/livez", "/readyz"):
                assert (await api.send("GET", path, b"", Peer())).status == 200
            assert (
                await api.send("PATCH", f"{LEASES}/kube-node-lease/leases/n1", {"spec": {}}, NODE, **MERGE)
            ).status == 200
            path = f"{LEASES}/kube-system/leases/kube-scheduler"
            known = (await api.send("GET", path, b"", SCHEDULER)).tree
            assert (await api.send("PUT", path, known, SCHEDULER)).status == 200
            assert (await api.send("GET", "/api/v1/nodes", b"", MANAGER)).status in (200, 403)
            assert (await api.send("GET", f"{MAPS}/m", b"", JANE)).status == 200
            await api.patch(f"{MAPS}/m", {"data": {"a": "b"}})
        assert api.app.flow.busy == held
        api.app.flow._wait_seconds = 0.01
        assert (await api.send("GET", f"{MAPS}/m", b"", FLOOD)).status == 429
        await release(asked)
        assert api.app.flow.busy == 0 == api.app.flow.waiting
        assert (await api.send("GET", f"{MAPS}/m", b"", FLOOD)).status == 200


MERGE = {"content_type": "application/merge-patch+json"}


def change(revision: int, size: int) -> Change:
    return Change(revision, Item("default/m", revision, b"x" * size), None)


async def test_a_slow_watcher_is_bounded_in_bytes() -> None:
    """It is told 410 once what it has not taken is too much, whether many events or large ones; the rest is let go."""
    for size, count in ((1, watching.BUFFER_EVENTS + 1), (1 << 20, (watching.BUFFER_BYTES >> 20) + 1)):
        slow = Subscription(Rounds(), "", None)
        same = change(1, size)
        for _ in range(count - 1):
            slow.offer(same)
        assert not slow.overflowed
        assert len(slow.pending) == count - 1
        slow.offer(change(count, size))
        assert slow.overflowed and not slow.pending
        slow.offer(change(count + 1, size))
        assert not slow.pending
    one = Subscription(Rounds(), "", None)
    one.offer(change(1, watching.BUFFER_BYTES + 1))
    assert not one.overflowed and len(one.take()) == 1
    one.offer(change(2, watching.BUFFER_BYTES + 1))
    assert not one.overflowed


def lines(frames: bytes) -> list[tuple[str, int]]:
    """Type and revision of each; of an error its code."""
    found = [(each["type"], each["object"]) for each in map(orjson.loads, frames.splitlines())]
    return [(kind, obj["code"] if kind == "ERROR" else int(obj["metadata"]["resourceVersion"])) for kind, obj in found]


async def slow_watch(api: Api, *query: tuple[str, str]) -> tuple[Response, Any, bytes]:
    """One that has taken the first piece only."""
    asked = (("watch", "true"), ("allowWatchBookmarks", "true"), *query)
    answer = await api.app.handle(Request("GET", MAPS, asked, {}, peer=Peer("a", ("system:masters",))))
    frames: Any = aiter(answer.body)  # type: ignore[arg-type]
    return answer, frames, await anext(frames)


@pytest.mark.parametrize("is_gap", [False, True], ids=["many changes", "a gap"])
async def test_who_fell_behind_learns_it_also_at_the_end(monkeypatch: pytest.MonkeyPatch, *, is_gap: bool) -> None:
    """A watch that ends then ends with 410, and with no bookmark beyond what it never got."""
    monkeypatch.setattr(watching, "BUFFER_EVENTS", 20)
    async with configured() as api:
        await api.create(MAPS, config_map("m"))
        answer, frames, _ = await slow_watch(api, ("resourceVersion", "0"))
        for n in range(1 if is_gap else 30):
            await api.create(MAPS, config_map(f"n{n}"))
        if is_gap:
            api.app._watching._lose()
        api.app._watching.close()
        rest = lines(b"".join([piece async for piece in frames]))
        assert rest[-1] == ("ERROR", 410)
        assert "BOOKMARK" not in [kind for kind, _ in rest]
        await answer.body.aclose()  # type: ignore[union-attr]


async def test_a_slow_start_holds_no_place_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes the initial state drop by drop goes on with it, but not in the place of other requests."""
    monkeypatch.setattr(watching, "INITIAL_SECONDS", 0.01)
    async with configured() as api:
        await grant(api, "jane")
        for n in range(3):
            await api.create(MAPS, config_map(f"m{n}", k="x" * watching.CHUNK_BYTES))
        answer = await api.app.handle(Request("GET", MAPS, (("watch", "true"),), {}, peer=JANE))
        frames: Any = aiter(answer.body)  # type: ignore[arg-type]
        got = lines(await anext(frames))
        assert api.app.flow.busy == 1
        async with asyncio.timeout(60):
            while api.app.flow.busy:
                await asyncio.sleep(0.001)
        got += lines(await anext(frames)) + lines(await anext(frames))
        assert [kind for kind, _ in got] == ["ADDED"] * 3
        await answer.body.aclose()  # type: ignore[union-attr]
        assert api.app.flow.busy == 0


async def test_the_first_bookmark_says_what_was_sent() -> None:
    """What came while the initial state was written is not in its revision: who breaks off there loses nothing."""
    async with configured() as api:
        made = await api.create(MAPS, config_map("m"))
        query = (("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan"))
        answer, frames, _ = await slow_watch(api, *query)
        before = int(made["metadata"]["resourceVersion"])
        later = int((await api.create(MAPS, config_map("n")))["metadata"]["resourceVersion"])
        assert lines(await anext(frames)) == [("BOOKMARK", before)]
        assert lines(await anext(frames)) == [("ADDED", later)]
        await answer.body.aclose()  # type: ignore[union-attr]


def test_the_window_is_bounded_in_bytes() -> None:
    """What is kept for those who come back is a number of bytes at most, and who is too late is told 410."""
    kept = KindCache("/registry/core/configmaps/")
    size = 1 << 20
    for revision in range(1, 101):
        kept._publish("default/m", change(revision, size))
    assert len(kept.changes) == cache.WINDOW_BYTES // size
    assert kept.oldest == 100 - len(kept.changes)
    assert [each.revision for each in kept.since(kept.oldest)] == list(range(kept.oldest + 1, 101))


async def test_what_a_watch_writes_is_bounded() -> None:
    """Whatever has piled up comes in pieces, each no larger than one event needs, in order and complete."""
    async with configured() as api:
        await api.create(MAPS, config_map("m"))
        for n in range(40):
            await api.create(MAPS, config_map(f"m{n:02}", k="x" * 20_000))
        answer = await api.app.handle(
            Request("GET", MAPS, (("watch", "true"),), {}, peer=Peer("a", ("system:masters",)))
        )
        frames: Any = aiter(answer.body)  # type: ignore[arg-type]
        first = [await anext(frames)]
        for n in range(40):
            await api.patch(f"{MAPS}/m{n:02}", {"data": {"n": "1"}})
        while sum(piece.count(b"\n") for piece in first) < 81:
            first.append(await anext(frames))
        assert max(map(len, first)) < watching.CHUNK_BYTES + 30_000
        lines = b"".join(first).splitlines()
        assert [line.startswith(b'{"type":"ADDED"') for line in lines] == [True] * 41 + [False] * 40
        await answer.body.aclose()  # type: ignore[union-attr]
