"""The watch cache's window of recent changes is bounded by number, by bytes and by time."""

from typing import Any

import orjson
import pytest

from sampan.kit.simloop import SimLoop, VirtualClock
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
    """What the store forgets is forgotten here too, but for a few changes of a quiet kind."""
    monkeypatch.setattr(cache, "LEAST_EVENTS", 5)
    kind, quiet = KindCache(PREFIX), KindCache("/registry/core/secrets/")
    loop = SimLoop()
    store = MemoryStore()

    def forget(revision: int) -> None:
        for each in (kind, quiet):
            each.forget(revision)

    keeper = Compaction(store, VirtualClock(loop), window_seconds=100, step_seconds=10).tell(forget)

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
