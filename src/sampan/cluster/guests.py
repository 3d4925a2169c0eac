"""Guests: nodes of other machines in a cluster that is down, as its store has them."""

import asyncio

from sampan.cluster.settings import Settings
from sampan.kinds.core.node import NODE
from sampan.server import cache
from sampan.store.protocol import Store

_FILE = "state.db"


def names(cluster: Settings) -> list[str]:
    """All but those that are, or were, nodes of this host. StoreError."""
    if cluster.store == "memory" or (cluster.store == "sqlite" and not cluster.path(_FILE).exists()):
        return []
    found = asyncio.run(_nodes(cluster))
    return [name for name in found if name not in cluster.node_names() and not cluster.path(f"node-{name}").exists()]


async def _nodes(cluster: Settings) -> list[str]:
    store, place = await _opened(cluster), cache.prefix(NODE)
    try:
        return [record.key.removeprefix(place) for record in (await store.list(place)).records]
    finally:
        await store.close()


async def _opened(cluster: Settings) -> Store:
    if cluster.store == "sqlite":
        from sampan.store.sqlite import SqliteStore

        return SqliteStore.open(cluster.path(_FILE))
    from sampan.store.etcd import EtcdStore

    return await EtcdStore.open(cluster.store)
