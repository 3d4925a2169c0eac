"""Several servers on one store: a read that asks for the present is never older than what another server acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.server import request_info
from sampan.server.cache import Cache, prefix
from sampan.server.call import Call
from sampan.server.freshness import Freshness
from sampan.server.identity import LOOPBACK
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Batch, Compare, Put, Result, StoreError, Write
from sampan.web.message import Request

KEY = f"{prefix(CONFIGMAP)}default/"
OBJECT = b'{"metadata":{"name":"a"}}'


class Late(MemoryStore):
    """Its watch says nothing until it is let; questions for the revision are counted, and fail on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.goes = asyncio.Event()
        self.asked = 0
        self.is_down = False
        self.waits: asyncio.Event | None = None

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:  # type: ignore[override]
        async for batch in super().watch(prefix, after_revision):
            await self.goes.wait()
            yield batch

    async def revision(self) -> int:
        self.asked += 1
        await (self.waits.wait() if self.waits else asyncio.sleep(0))
        if self.is_down:
            raise StoreError("gone")
        return await super().revision()

    async def other_writes(self, name: str, compares: Sequence[Compare] = ()) -> Result:
        """As another server would."""
        write: Write = Put(KEY + name, OBJECT)
        return await self.txn(compares, (write,))


@pytest.fixture
async def store() -> Late:
    return Late()


@pytest.fixture
async def cache(store: Late) -> AsyncIterator[Cache]:
    tasks = Tasks("test")
    made = Cache(store, (CONFIGMAP,), tasks)
    await made.start()
    yield made
    await tasks.close()


@pytest.fixture
async def fresh(store: Late, cache: Cache) -> AsyncIterator[Freshness]:
    tasks = Tasks("freshness")
    yield Freshness(cache, store, tasks, is_shared=True)
    await tasks.close()


def call(verb: str = "GET", query: tuple[tuple[str, str], ...] = ()) -> Call:
    request = Request(verb, CONFIGMAP.path("default", "a"), query, {})
    return Call(request, request_info.parse(request), LOOPBACK, CONFIGMAP, None, SystemClock().now())


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
async def test_the_present(store: Late, cache: Cache, fresh: Freshness, verb: str) -> None:
    """Who asks for it, or writes, waits until the cache has what was acknowledged before."""
    await store.other_writes("a")
    waiting = asyncio.ensure_future(fresh.of(call(verb)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    store.goes.set()
    await waiting
    assert cache.of(CONFIGMAP).get("default/a") is not None


@pytest.mark.parametrize("query", [(("resourceVersion", "0"),), (("resourceVersion", "1"),), (("continue", "x"),)])
async def test_what_may_be_old(store: Late, fresh: Freshness, query: tuple[tuple[str, str], ...]) -> None:
    """Who says so gets it at once, and so does who has seen a page already."""
    await store.other_writes("a")
    await fresh.of(call("GET", query))
    assert store.asked == 0


async def test_a_revision_that_others_know(
    store: Late, cache: Cache, fresh: Freshness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for; 504 when it does not come in time."""
    revision = (await store.other_writes("a")).revision
    waiting = asyncio.ensure_future(fresh.of(call("GET", (("resourceVersion", str(revision)),))))
    await asyncio.sleep(0)
    store.goes.set()
    await waiting
    assert cache.revision == revision
    monkeypatch.setattr("sampan.server.freshness.PATIENCE_SECONDS", 0.01)
    with pytest.raises(ApiError) as refusal:
        await fresh.of(call("GET", (("resourceVersion", "99"),)))
    assert refusal.value.code == 504


async def test_those_who_come_together_share_a_question(store: Late, fresh: Freshness) -> None:
    """One that comes while it is under way gets an answer of its own: the other may be too old."""
    store.goes.set()
    await asyncio.gather(*(fresh.of(call()) for _ in range(50)))
    assert store.asked == 1
    first = asyncio.ensure_future(fresh.of(call()))
    while store.asked < 2:
        await asyncio.sleep(0)
    await fresh.of(call())
    await first
    assert store.asked == 3


async def test_a_store_that_is_gone(store: Late, fresh: Freshness) -> None:
    """Nobody can say what the present is: that is told to all who asked, and the next ones are asked for anew."""
    store.goes.set()
    store.is_down = True
    found = await asyncio.gather(*(fresh.of(call()) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["gone"] * 3
    store.is_down = False
    await fresh.of(call())


async def test_who_comes_while_a_store_is_asked_in_vain(store: Late, fresh: Freshness) -> None:
    """He is told when the others are: a second question would have him wait twice as long as the store may take."""
    store.is_down, store.waits = True, asyncio.Event()
    first = asyncio.ensure_future(fresh.of(call()))
    while not store.asked:
        await asyncio.sleep(0)
    second = asyncio.ensure_future(fresh.of(call()))
    await asyncio.sleep(0)
    store.waits.set()
    found = await asyncio.gather(first, second, return_exceptions=True)
    assert [str(error) for error in found] == ["gone"] * 2
    assert store.asked == 1


async def test_health_of_a_store_that_others_write_to(
    store: Late, fresh: Freshness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked: one that nobody writes to just now may be gone as well, or silent."""
    assert await fresh.failure() == ""
    store.is_down = True
    assert await fresh.failure() == "gone"
    store.waits = asyncio.Event()
    monkeypatch.setattr("sampan.server.freshness.HEALTH_SECONDS", 0.01)
    assert "does not answer" in await fresh.failure()
    store.is_down = False
    store.waits.set()
    monkeypatch.undo()
    assert await fresh.failure() == ""


async def test_a_store_of_its_own(store: Late, cache: Cache) -> None:
    """A server that is alone never waits."""
    tasks = Tasks("alone")
    await store.other_writes("a")
    await Freshness(cache, store, tasks, is_shared=False).of(call())
    assert store.asked == 0
    await tasks.close()
