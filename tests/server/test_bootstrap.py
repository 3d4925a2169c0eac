"""What every cluster has from its first second: how it comes into a new store, and into one that has some of it."""

import re

import pytest

from sampan.kinds.core.service import SERVICE
from sampan.kinds.flowcontrol.flow_schema import DANGLING, FLOWSCHEMA
from sampan.kinds.kind import Kind
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.meta import conditions
from sampan.server import bootstrap
from sampan.server.app import App
from sampan.server.cache import Item
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Put
from tests.server.configured import RANGE, Lines, configured

RECORDED = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata}]
"""
OWN = "/registry/rbac.authorization.k8s.io/clusterroles/view"


async def stored(store: MemoryStore) -> dict[str, bytes]:
    """Everything but the uids, which are nobody's choice."""
    page = await store.list("/registry/")
    return {record.key: re.sub(rb'"uid":"[^"]*"', b'"uid":""', record.value) for record in page.records}


async def test_a_new_store_holds_the_same_bytes_as_after_requests() -> None:
    """A server that keeps a record makes every object by a request, any other most of them at once."""
    at_once, asked, lines = MemoryStore(), MemoryStore(), Lines()
    async with configured(store=at_once), configured(RECORDED, asked, audit=lines):
        found = await stored(at_once)
        assert found == await stored(asked)
        assert len(found) > 150
        assert len(lines.lines) > 150
        assert await at_once.revision() < 20


async def test_flow_schemas_say_from_the_start_that_their_levels_are_there() -> None:
    """Nobody has to write it later."""
    async with configured(store=MemoryStore()) as api:
        items = api.app.registry.all(FLOWSCHEMA)
        assert len(items) > 10
        assert {conditions.status_of(item.tree, DANGLING) for item in items} == {"False"}
        assert {item.tree["metadata"]["managedFields"][1]["subresource"] for item in items} == {"status"}


async def test_what_is_there_already_stays_and_the_rest_is_added() -> None:
    """Of a store that has one of the objects, with no namespaces yet."""
    fresh, begun = MemoryStore(), MemoryStore()
    async with configured(store=fresh):
        expected = await stored(fresh)
    await begun.txn([], [Put(OWN, expected[OWN].replace(b'"uid":""', b'"uid":"mine"'))])
    async with configured(store=begun) as api:
        assert await stored(begun) == expected
        assert uid(api.app) == "mine"


async def test_a_later_start_writes_nothing() -> None:
    """All is there, and as it is to be."""
    store = MemoryStore()
    async with configured(store=store):
        revision = await store.revision()
    async with configured(store=store):
        assert await store.revision() == revision


def uid(app: App) -> str:
    item = app.registry.get(CLUSTERROLE, "", "view")
    assert item is not None
    return str(item.tree["metadata"]["uid"])


async def test_another_server_may_be_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a Service after we have looked: its address is refused to us then, and nothing is amiss."""
    store = MemoryStore()
    async with configured(store=store) as api:
        before, get = await stored(store), api.app.registry.get

        def not_yet(kind: Kind, namespace: str, name: str) -> Item | None:
            return None if kind is SERVICE else get(kind, namespace, name)

        monkeypatch.setattr(api.app.registry, "get", not_yet)
        await bootstrap.ensure(api.app, bootstrap.Endpoints("10.96.0.1", "10.244.0.1", 6443, service_cidr=RANGE))
        assert await stored(store) == before
