"""The watch cache's window of recent changes is bounded by number, by bytes and by time."""

from typing import Any

import orjson
import pytest

from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.server import cache
from sampan.server.cache import KindCache, encode
from sampan.store.compaction import Compaction
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Event, Put

PREFIX = "/registry/core/configmaps/"


def changed(kind: KindCache, revision: int, size: int = 0) -> None:
    metadata = {"name": "a", "namespace": "d"}
    obj: dict[str, Any] = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"x": "y" * size}}
    kind.apply(Event(f"{PREFIX}d/a", revision, encode(orjson.loads(orjson.dumps(obj))), None))


def test_it_is_bounded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest stay; who asks for what is gone is told so."""
    monkeypatch.setattr(cache, "WINDOW_EVENTS", 10)
    kind = KindCache(PREFIX)
    for revision in range(1, 31):
        changed(kind, revision)
    assert [change.revision for change in kind.since(20)] == list(range(21, 31))
    with pytest.raises(ApiError, match="too old resource version: 19"):
        kind.since(19)


def test_it_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large objects leave room for few changes."""
    monkeypatch.setattr(cache, "WINDOW_BYTES", 50_000)
    kind = KindCache(PREFIX)
    for revision in range(1, 31):
        changed(kind, revision, 9_000)
    assert [change.revision for change in kind.changes] == [26, 27, 28, 29, 30]
    with pytest.raises(ApiError, match="too old resource version"):
        kind.since(24)


@pytest.mark.parametrize("is_held", [False, True])
def test_what_was_told_is_kept_as_bytes(*, is_held: bool) -> None:
    """Trees and frames of older changes are let go, those of live objects only where nobody else holds them."""
    kind = KindCache(PREFIX)
    kind.is_held = is_held
    for revision in range(1, 5):
        metadata = {"name": f"n{revision}", "namespace": "d", "labels": {"x": "y"}}
        tree = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata}
        kind.apply(Event(f"{PREFIX}d/n{revision}", revision, encode(tree), None), tree)
    kind.apply(Event(f"{PREFIX}d/n4", 5, None, None))
    shown = [
        (kind.changes[at].frame(name), kind.changes[at].last().tree) for at, name in ((0, "ADDED"), (4, "DELETED"))
    ]
    for revision in range(6, 6 + cache.FRESH_EVENTS):
        changed(kind, revision)
    kind.settle()
    first, gone = kind.changes[0], kind.changes[4]
    assert first.item is not None and gone.previous is not None
    assert ([first.item._tree is None, gone.previous._tree is None]) == [not is_held, True]
    assert not first._frames and not gone._frames
    assert [(first.frame("ADDED"), first.last().tree), (gone.frame("DELETED"), gone.last().tree)] == shown


def test_who_goes_on_from_before_leaves_nothing_behind() -> None:
    """What is made of settled changes for one watcher isn't kept, but for what is live, which lists keep as well."""
    kind = KindCache(PREFIX)
    for revision in range(1, 11 + cache.FRESH_EVENTS):
        changed(kind, revision)
    kind.settle()
    old = list(kind.changes)[:9]
    for change in old:
        assert change.item is not None
        assert change.frame("MODIFIED") == change.frame("MODIFIED")
        assert change.item.tree["metadata"]["resourceVersion"] == str(change.revision)
        assert change.item.labels == {}
        change.item.keep_view(CONFIGMAP, change.item)
    assert not any(change._frames for change in old)
    assert all(each.item is not None and each.item._tree is each.item._labels is None for each in old)
    assert all(each.item is not None and each.item.view(CONFIGMAP) is None for each in old)
    live = kind.items["d/a"]
    assert live.tree is live.tree


def test_what_is_dropped_unread_is_settled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large objects are dropped before there are enough others."""
    monkeypatch.setattr(cache, "WINDOW_EVENTS", 10)
    kind = KindCache(PREFIX)
    for revision in range(1, 11):
        changed(kind, revision)
    first = kind.changes[0]
    assert first.item is not None and first.item.tree and first.frame("ADDED")
    for revision in range(11, 13):
        changed(kind, revision)
    assert first.item._tree is None and not first._frames
    kind.settle()
    assert len(kind.changes) == 10


def test_many_changes_at_once_are_told_before_they_are_settled() -> None:
    """Who hears of them makes each frame once for all; with the next ones all but the latest are settled."""
    loop = SimLoop()
    store = MemoryStore()
    watched = cache.Cache(store, (), Tasks("test"))
    loop.run_until_complete(watched.start())
    told: list[cache.Change] = []
    loop.run_until_complete(store.txn([], [Put(f"{PREFIX}d/a", b'{"metadata":{"name":"a"}}')]))
    loop.advance(0)
    (kind,) = watched.kinds()
    kind.listen(told.append)
    loop.run_until_complete(store.txn([], [Put(f"{PREFIX}d/{n}", b'{"metadata":{"name":"a"}}') for n in range(100)]))
    loop.advance(0)
    assert len(told) == 100
    frames = [change.frame("ADDED") for change in told]
    assert all(change.frame("ADDED") is frame for change, frame in zip(told, frames, strict=True))
    loop.run_until_complete(store.txn([], [Put(f"{PREFIX}d/a", b'{"metadata":{"name":"a"}}')]))
    loop.advance(0)
    assert sum(bool(change._frames) for change in told) == cache.FRESH_EVENTS


def test_after_a_gap_it_fills_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it was full before."""
    monkeypatch.setattr(cache, "WINDOW_BYTES", 50_000)
    kind = KindCache(PREFIX)
    for revision in range(1, 31):
        changed(kind, revision, 9_000)
    kind.begin_anew(40)
    assert not kind.changes
    with pytest.raises(ApiError, match="too old resource version: 39"):
        kind.since(39)
    for revision in range(41, 46):
        changed(kind, revision, 9_000)
    assert [change.revision for change in kind.since(40)] == [41, 42, 43, 44, 45]


def test_it_is_bounded_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 75 s, sooner than by the store, changes are forgotten, but for a few of a quiet kind."""
    monkeypatch.setattr(cache, "LEAST_EVENTS", 5)
    kind, quiet = KindCache(PREFIX), KindCache("/registry/core/secrets/")
    loop = SimLoop()
    store = MemoryStore()

    def forget(revision: int) -> None:
        for each in (kind, quiet):
            each.forget(revision)

    keeper = Compaction(store, VirtualClock(loop), window_seconds=300, step_seconds=5).tell(forget)

    async def writes(count: int) -> None:
        for _ in range(count):
            changed(kind, (await store.txn((), (Put("a", b""),))).revision)

    task = loop.create_task(keeper.run())
    changed(quiet, 1)
    loop.run_until_complete(writes(20))
    loop.advance(50)
    loop.run_until_complete(writes(20))
    loop.advance(70)
    assert [change.revision for change in kind.changes] == list(range(22, 42))
    assert len(quiet.changes) == 1
    with pytest.raises(ApiError, match="too old resource version"):
        kind.since(20)
    assert len(kind.since(21)) == 20
    loop.advance(200)
    assert len(kind.changes) == 5
    task.cancel()
    loop.advance(0)
