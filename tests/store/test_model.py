"""Any sequence of operations gives the same answers as the simplest model, on every store."""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sampan.store.memory import MemoryStore
from sampan.store.protocol import Compacted, Compare, Delete, FutureRevision, Put, Record, Store
from sampan.store.sqlite import SqliteStore
from tests.store.etcd import Etcd

KEYS = ("a", "a/", "a/b", "a/c", "b", "é", "\U0010ffff", "\U0010ffffz")
PREFIXES = ("", "a", "a/", "c", "\U0010ffff")

key = st.sampled_from(KEYS)
value = st.binary(max_size=3)
revision = st.integers(0, 14)
write = st.one_of(st.builds(Put, key, value), st.builds(Delete, key))
txn = st.tuples(
    st.just("txn"), st.lists(key, max_size=2), st.booleans(), st.lists(write, max_size=3, unique_by=lambda w: w.key)
)
step = st.one_of(
    txn,
    txn,
    st.tuples(st.just("get"), key, revision),
    st.tuples(st.just("list"), st.sampled_from(PREFIXES), st.sampled_from(("", *KEYS)), st.integers(0, 3), revision),
    st.tuples(st.just("compact"), revision),
    st.tuples(st.just("watch"), st.sampled_from(PREFIXES), revision),
)


@dataclass
class Model:
    """Every revision's whole state, kept for ever."""

    states: list[dict[str, Record]] = field(default_factory=lambda: [{}, {}])  # by revision
    oldest: int = 1

    @property
    def now(self) -> int:
        return len(self.states) - 1

    def txn(self, keys: list[str], is_right: bool, writes: list[Any]) -> Any:
        found = tuple(self.states[-1].get(k) for k in keys)
        if keys and not is_right:
            return (False, self.now, found)
        state = dict(self.states[-1])
        for each in writes:
            if isinstance(each, Put):
                created = state[each.key].create_revision if each.key in state else self.now + 1
                state[each.key] = Record(each.key, each.value, created, self.now + 1)
            else:
                state.pop(each.key, None)
        if state != self.states[-1]:
            self.states.append(state)
        return (True, self.now, ())

    def readable(self, revision: int) -> dict[str, Record]:
        if revision > self.now:
            raise FutureRevision
        if revision and revision < self.oldest:
            raise Compacted(self.oldest)
        return self.states[revision or self.now]

    def list(self, prefix: str, after: str, limit: int, revision: int) -> Any:
        state = self.readable(revision)
        records = [state[k] for k in sorted(state) if k.startswith(prefix) and k > after]
        taken = records[:limit] if limit else records
        return (revision or self.now, tuple(taken), len(records) - len(taken))

    def compact(self, revision: int) -> None:
        if revision > self.now:
            raise FutureRevision
        self.oldest = max(self.oldest, revision)

    def changes(self, prefix: str, after: int) -> Any:
        if after < self.oldest and self.oldest > 1 and after < self.now:
            raise Compacted(self.oldest)
        found = []
        for r in range(max(after, 1) + 1, len(self.states)):
            old, new = self.states[r - 1], self.states[r]
            found += [(k, r, new.get(k), old.get(k)) for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
        return [change for change in found if change[0].startswith(prefix)]


async def act(store: Store, model: Model, action: tuple[Any, ...]) -> tuple[Any, Any]:
    """(what the store answered, what the model says); exceptions by name."""
    name, *args = action
    if name == "txn":
        keys, is_right, writes = args
        compares = []
        for k in keys:
            record = model.states[-1].get(k)
            at = record.mod_revision if record else 0
            compares.append(Compare(k, at if is_right else at + 1))
        result = await store.txn(compares, writes)
        return (result.succeeded, result.revision, result.found), model.txn(keys, is_right, writes)
    if name == "get":
        return await answer(store.get(*args)), said(lambda: model.readable(args[1]).get(args[0]))
    if name == "list":
        prefix, after, limit, at = args
        page = await answer(store.list(prefix, after=after, limit=limit, revision=at))
        page = page if isinstance(page, str) else (page.revision, page.records, page.remaining)
        return page, said(lambda: model.list(prefix, after, limit, at))
    if name == "compact":
        return await answer(store.compact(*args)), said(lambda: model.compact(*args))
    return await asyncio.wait_for(answer(changes(store, *args, model.now)), 60), said(lambda: model.changes(*args))


async def changes(store: Store, prefix: str, after: int, now: int) -> Any:
    if after >= now:
        return []
    found: list[Any] = []
    async for batch in store.watch(prefix, after):
        for e in batch.events:
            created = e.previous.create_revision if e.previous else e.revision
            record = Record(e.key, e.value, created, e.revision) if e.value is not None else None
            found.append((e.key, e.revision, record, e.previous))
        if batch.revision >= now:
            break
    return sorted(found, key=lambda change: (change[1], change[0]))


async def answer(awaitable: Any) -> Any:
    try:
        return await awaitable
    except (Compacted, FutureRevision) as error:
        return type(error).__name__


def said(call: Any) -> Any:
    try:
        return call()
    except (Compacted, FutureRevision) as error:
        return type(error).__name__


async def follow(store: Store, steps: list[tuple[Any, ...]]) -> None:
    model = Model()
    for action in steps:
        got, expected = await act(store, model, action)
        assert got == expected, action
    assert await store.revision() == model.now
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@given(steps=st.lists(step, max_size=25))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_store_answers_as_the_model_does(kind: str, steps: list[tuple[Any, ...]]) -> None:
    """Transactions, reads at any revision, compaction and watches agree with the model."""
    with tempfile.TemporaryDirectory() as folder:
        store: Store = MemoryStore() if kind == "memory" else SqliteStore.open(Path(folder) / "s.db")
        asyncio.run(follow(store, steps))


@pytest.mark.slow
@given(steps=st.lists(step, min_size=10, max_size=40))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_etcd_answers_as_the_model_does(loop: asyncio.Runner, steps: list[tuple[Any, ...]]) -> None:
    """The same with a real etcd, of which each sequence has a new one."""
    with tempfile.TemporaryDirectory() as folder:
        etcd = Etcd(Path(folder))
        etcd.start()
        try:
            loop.run(follow_etcd(etcd.url, steps))
        finally:
            etcd.stop()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One for all sequences: gRPC does not like loops to come and go."""
    pytest.importorskip("grpc")
    with asyncio.Runner() as runner:
        yield runner


async def follow_etcd(url: str, steps: list[tuple[Any, ...]]) -> None:
    from sampan.store.etcd import EtcdStore

    async with asyncio.timeout(60):
        await follow(await EtcdStore.open(url), steps)
