"""A store that has forgotten changes before they were read: the server goes on, and nobody is served a gap."""

import asyncio
from typing import Any

import orjson
import pytest

from sampan.kinds.core.config_map import CONFIGMAP
from sampan.server import cache
from sampan.server.cache import prefix
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Delete, Page, Put, StoreError
from sampan.web.message import Peer, Request
from tests.server.configured import configured

ADMIN = Peer("admin", ("system:masters",))
PATH = CONFIGMAP.path("default")


async def test_the_server_begins_anew() -> None:
    """Watchers are told 410; then all is there as the store has it, old revisions are refused, and new changes come."""
    store = MemoryStore()
    async with configured(store=store) as api:

        async def ask(method: str, path: str, body: bytes = b"", *query: tuple[str, str]):  # type: ignore[no-untyped-def]
            return await api.app.handle(Request(method, path, query, {"content-type": "application/json"}, body, ADMIN))

        for name in ("kept", "changed", "gone"):
            body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}
            assert (await ask("POST", PATH, orjson.dumps(body))).status == 201
        before = str(api.app.cache.revision)
        watch = await ask("GET", PATH, b"", ("watch", "true"), ("resourceVersion", before))
        where = prefix(CONFIGMAP) + "default/"
        stored = await store.get(where + "changed")
        assert stored is not None
        api.app.cache._apply = lambda batch, apply=api.app.cache._apply: None  # type: ignore[method-assign, misc]
        await store.txn(
            (), (Put(where + "changed", stored.value.replace(b"{", b'{"data":{"a":"b"},', 1)), Delete(where + "gone"))
        )
        await store.txn((), (Put(where + "new", stored.value.replace(b'"changed"', b'"new"')),))
        del api.app.cache._apply  # type: ignore[method-assign]
        store._hub.skip(await store.revision())
        async with asyncio.timeout(60):
            lines = b"".join([piece async for piece in watch.body])
            assert orjson.loads(lines.splitlines()[-1])["object"]["code"] == 410
            while api.app.cache.revision < await store.revision():
                await asyncio.sleep(0)
        assert api.app.cache.of(CONFIGMAP)._bytes == 0
        listed = orjson.loads((await ask("GET", PATH)).body)
        found = {item["metadata"]["name"]: item.get("data") for item in listed["items"]}
        assert found == {"kept": None, "changed": {"a": "b"}, "kube-root-ca.crt": None, "new": None} or found == {
            "kept": None, "changed": {"a": "b"}, "new": None,
        }  # fmt: skip
        late = await ask("GET", PATH, b"", ("watch", "true"), ("resourceVersion", before))
        (told,) = [orjson.loads(piece) async for piece in late.body]
        assert (late.status, told["type"], told["object"]["code"]) == (200, "ERROR", 410)
        assert (await ask("DELETE", f"{PATH}/new")).status == 200
        assert api.app.cache.of(CONFIGMAP).get("default/new") is None


async def test_who_comes_while_the_store_is_read_is_told_too() -> None:
    """A watch that begins between the gap and its end is sent 410, and none of what is known of that time by halves."""
    store = MemoryStore()
    async with configured(store=store) as api:
        before, read = str(api.app.cache.revision), store.list
        is_reading, go_on = asyncio.Event(), asyncio.Event()

        async def slow(key: str, **options: Any) -> Page:
            is_reading.set()
            await go_on.wait()
            return await read(key, **options)

        store.list = slow  # type: ignore[method-assign, assignment]
        store._hub.skip(await store.revision())
        await is_reading.wait()
        query = (("watch", "true"), ("resourceVersion", before))
        watch = await api.app.handle(Request("GET", PATH, query, {}, b"", ADMIN))
        stored = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"1"}}'
        await store.txn((), (Put(prefix(CONFIGMAP) + "default/a", stored),))
        go_on.set()
        async with asyncio.timeout(60):
            lines = b"".join([piece async for piece in watch.body]).splitlines()
        assert [orjson.loads(line)["object"].get("code") for line in lines] == [410]


@pytest.mark.parametrize("is_gap", [True, False])
async def test_a_store_that_does_not_answer_just_then(monkeypatch: pytest.MonkeyPatch, *, is_gap: bool) -> None:
    """The server goes on, and asks again: when its changes cannot be read, and when what is there cannot."""
    monkeypatch.setattr(cache, "AGAIN_SECONDS", 0)
    store = MemoryStore()
    async with configured(store=store) as api:
        refusals, read = iter([True, True]), store.list

        async def list_(key: str, **options: Any) -> Page:
            if next(refusals, False):
                raise StoreError("no leader")
            return await read(key, **options)

        if is_gap:
            store.list = list_  # type: ignore[method-assign, assignment]
            store._hub.skip(await store.revision())
        else:
            following = api.app.cache._changes
            waiting = iter([Broken(), Broken()])
            api.app.cache._changes = lambda: next(waiting, None) or following()  # type: ignore[method-assign]
            told = next(task for task in api.app.cache._tasks._running if task.get_name().endswith("watch cache"))
            api.app.cache._tasks.spawn(api.app.cache._follow(Broken()), "another watch cache")
            told.cancel()
        stored = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"1"}}'
        await store.txn((), (Put(prefix(CONFIGMAP) + "default/a", stored),))
        async with asyncio.timeout(60):
            await api.app.cache.wait(await store.revision())
        assert api.app.cache.of(CONFIGMAP).get("default/a") is not None


class Broken:
    """A watch whose store does not answer."""

    def __aiter__(self) -> "Broken":
        return self

    async def __anext__(self) -> object:
        raise StoreError("no answer")
