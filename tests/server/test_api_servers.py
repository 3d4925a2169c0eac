"""Several API servers of one cluster: together they are the endpoints of the Service kubernetes."""

import asyncio
import dataclasses
from functools import partial

from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kit.tasks import Tasks
from sampan.server import bootstrap
from sampan.server.api_servers import PLACE, ApiServers
from sampan.server.app import App
from sampan.server.bootstrap import Endpoints
from sampan.server.keeper import Unmended
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Delete, Put, StoreError
from tests.server.configured import configured

OWN = ("10.0.0.1", 6443)


class Clock:
    """Each sleep lasts until it is let go."""

    def __init__(self) -> None:
        self.goes = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        await self.goes.acquire()


def endpoints(servers: ApiServers) -> Endpoints:
    return dataclasses.replace(Endpoints("10.96.0.1", *OWN), find=servers.find)


def slices(app: App) -> dict[str, tuple[list[str], int]]:
    """By name: addresses and port."""
    found = (item.tree for item in app.registry.all(ENDPOINTSLICE) if item.key.startswith("default/"))
    return {
        each["metadata"]["name"]: ([e["addresses"][0] for e in each["endpoints"]], each["ports"][0]["port"])
        for each in found
    }


def ports(app: App) -> set[tuple[str, int]]:
    """Addresses and ports of the older form."""
    item = app.registry.get(ENDPOINTS, "default", "kubernetes")
    assert item is not None
    return {
        (address["ip"], port["port"])
        for subset in item.tree["subsets"]
        for address in subset["addresses"]
        for port in subset["ports"]
    }


async def test_all_are_endpoints() -> None:
    """With one port they share a slice; others have one of their own. One that is gone is taken out, slice and all."""
    store = MemoryStore()
    async with configured(store=store) as api:
        servers = ApiServers(store, Clock(), OWN)  # type: ignore[arg-type]
        await servers.note()
        mend = partial(bootstrap.mend, api.app, endpoints(servers))
        api.app.keeper.keep((), mend)  # in place of the one that knows of one server
        await mend()
        assert slices(api.app) == {"kubernetes": (["10.0.0.1"], 6443)}
        await store.txn((), (Put(f"{PLACE}10.0.0.2:6443", b""), Put(f"{PLACE}10.0.0.1:6444", b"")))
        await mend()
        assert slices(api.app) == {
            "kubernetes": (["10.0.0.1", "10.0.0.2"], 6443),
            "kubernetes-6444": (["10.0.0.1"], 6444),
        }
        assert ports(api.app) == {("10.0.0.1", 6443), ("10.0.0.1", 6444), ("10.0.0.2", 6443)}
        revision = await store.revision()
        await mend()
        assert await store.revision() == revision, "nothing has changed, so nothing is written"
        await store.txn((), (Delete(f"{PLACE}10.0.0.1:6444"),))
        await mend()
        assert slices(api.app) == {"kubernetes": (["10.0.0.1", "10.0.0.2"], 6443)}


async def test_each_notes_itself_again_and_again() -> None:
    """It tells when one has come or gone, goes on after failures, and takes itself out in the end."""
    store, clock, told = MemoryStore(), Clock(), []

    async def tell() -> None:
        told.append([record.key.removeprefix(PLACE) for record in (await store.list(PLACE)).records])
        if len(told) == 1:
            raise StoreError("just now")

    servers, tasks = ApiServers(store, clock, OWN), Tasks("test")  # type: ignore[arg-type]
    await servers.note()
    await servers.find()
    tasks.spawn(servers.run(tell), "run")
    await store.txn((), (Delete(f"{PLACE}10.0.0.1:6443"), Put(f"{PLACE}10.0.0.9:6443", b"")))
    for count in (1, 2):
        clock.goes.release()
        while len(told) < count:
            await asyncio.sleep(0)
        await store.txn((), (Put(f"{PLACE}10.0.0.{count}:1", b""),))
    assert told[0] == ["10.0.0.1:6443", "10.0.0.9:6443"]
    await tasks.close()
    await servers.leave(tell)
    assert "10.0.0.1:6443" not in told[-1]


async def test_what_could_not_be_told_is_told_again() -> None:
    """Though nobody has come or gone since: the endpoints would stay as they were."""
    store, clock, told = MemoryStore(), Clock(), []

    async def tell() -> None:
        told.append(True)
        if len(told) == 1:
            raise Unmended("just now")

    servers, tasks = ApiServers(store, clock, OWN), Tasks("test")  # type: ignore[arg-type]
    await servers.find()
    tasks.spawn(servers.run(tell), "run")
    for count in (1, 2):
        clock.goes.release()
        async with asyncio.timeout(60):
            while len(told) < count:
                await asyncio.sleep(0)
    await tasks.close()
