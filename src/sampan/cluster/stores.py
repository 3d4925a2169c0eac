"""Stores: where a cluster's objects are, by its settings."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from sampan.cluster import wiring
from sampan.cluster.settings import Settings
from sampan.kit.clock import Clock, SystemClock
from sampan.store import shifted
from sampan.store.etcd_address import is_etcd
from sampan.store.protocol import Store, StoreError

SQLITE, MEMORY = "sqlite", "memory"
_NEW = "state.new"


def file(cluster: Settings) -> Path:
    """That of a cluster in SQLite."""
    return cluster.path("state.db")


async def opened(cluster: Settings, clock: Clock | None = None) -> Store:
    """Its store, ready to be used. Raises StoreError."""
    store = await _opened(cluster, clock or SystemClock())
    try:
        return await shifted.opened(store)
    except BaseException:
        await store.close()
        raise


async def _opened(cluster: Settings, clock: Clock) -> Store:
    if cluster.store == MEMORY:
        from sampan.store.memory import MemoryStore

        return MemoryStore()
    if is_etcd(cluster.store):
        from sampan.store.etcd import EtcdStore

        return await EtcdStore.open(cluster.store, clock, wiring.LIFETIMES)
    from sampan.store.sqlite import SqliteStore

    return SqliteStore.open(file(cluster))


def mend(cluster: Settings, error: StoreError) -> str:
    """What to do about a store that can't be used, as the end of a sentence, where the error does not say so itself."""
    if is_etcd(cluster.store):
        return "; see that it runs, and that --store names what it listens on: sampan doctor --store etcd://..."
    from sampan.store import checksums

    if cluster.store == SQLITE and error.__cause__ is not None and checksums.is_damage(error.__cause__):
        return "; put back a snapshot, see sampan snapshot list; or put the file away, to begin with nothing"
    return ""


@contextlib.contextmanager
def fresh(cluster: Settings) -> Iterator[Settings]:
    """A place for a new store: a SQLite file has another name until the block has ended well.

    What a block before this one left there, when it broke off, is there again.
    """
    if cluster.store != SQLITE:
        yield cluster
        return
    place = dataclasses.replace(cluster, directory=cluster.path(_NEW))
    place.directory.mkdir(mode=0o700, exist_ok=True)
    yield place
    for made in sorted(place.directory.glob(f"{file(place).name}*"), reverse=True):  # the file itself comes last
        made.rename(cluster.path(made.name))
    drop_fresh(cluster)


def drop_fresh(cluster: Settings) -> None:
    """The place for a new store is needed no more."""
    shutil.rmtree(cluster.path(_NEW), ignore_errors=True)
