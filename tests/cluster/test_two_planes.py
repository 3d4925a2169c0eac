"""Three members of an etcd and two control planes: any one of them is killed while clients write, watch and wait.

What the API acknowledged is compared with what etcd's own history has.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.cluster import further_plane
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.service import SERVICE
from sampan.meta.status import ApiError
from sampan.server.cache import prefix
from tests.cluster.test_election_over_etcd import Plane
from tests.server.conftest import deployment
from tests.store.etcd import Members, free_ports, program

pytestmark = pytest.mark.slow
Tree = dict[str, Any]
WRITERS = 3
MORE = 8
"""So many writes of each client are acknowledged after each death."""
PLACE = f"{prefix(CONFIGMAP)}default/"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Members]:
    program()
    pytest.importorskip("grpc")
    made = Members(tmp_path / "etcd")
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def planes(tmp_path: Path, etcd: Members) -> AsyncIterator[list[Plane]]:
    """The second is made from the first one's directory."""
    ports = free_ports(2)
    first = Plane(tmp_path / "a", etcd.url, ports[0])
    first.settings.directory.mkdir()
    first.settings.save()
    second = Plane(tmp_path / "b", etcd.url, ports[1])
    try:
        first.start()
        await first.settled()
        made = further_plane.of(first.settings.directory, "b", second.settings.directory)
        assert (made.index, made.store, made.nodes) == (first.settings.index, etcd.url, 0)
        further_plane.take_over(first.settings.directory, made)
        second.settings.save()
        second.start()
        await second.settled()
        yield [first, second]
    finally:
        for plane in (first, second):
            plane.end()


class Doors:
    """A client of either control plane, which goes to the other one when one does not answer."""

    def __init__(self, clients: list[Client], first: int) -> None:
        self._clients = clients
        self._at = first

    @property
    def now(self) -> Client:
        return self._clients[self._at]

    def turn(self) -> None:
        self._at = 1 - self._at

    async def until(self, ask: Any) -> Any:
        """The answer of whoever answers first."""
        while True:
            try:
                return await ask(self.now)
            except (ApiError, TransportError) as error:
                if isinstance(error, ApiError) and error.code not in (429, 500, 503, 504):
                    raise
                self.turn()
                await asyncio.sleep(0.05)


class Writer:
    """Counts up in a ConfigMap of its own; what became of a write without an answer it looks up."""

    def __init__(self, clients: list[Client], number: int) -> None:
        self.name = f"w{number}"
        self._doors = Doors(clients, number % 2)
        self.acknowledged: dict[int, int] = {}
        self.unknown: set[int] = set()

    async def run(self) -> None:
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name, "namespace": "default"}}
        known = await self._doors.now.create(CONFIGMAP, {**made, "data": {"n": "0"}})
        count = 0
        while True:
            count += 1
            self.unknown.add(count)
            wanted = {**known, "data": {"n": str(count)}}
            try:
                known = await self._doors.now.update(CONFIGMAP, wanted)
                self.acknowledged[int(known["metadata"]["resourceVersion"])] = count
                self.unknown.discard(count)
            except (ApiError, TransportError) as error:
                assert not (isinstance(error, ApiError) and error.code == 409), "nobody else writes here"
            self._doors.turn()  # what comes next goes to the other one, which must know of this one's write
            known = await self._doors.until(lambda client: client.get(CONFIGMAP, self.name, "default"))
            assert int(known["data"]["n"]) >= max(self.acknowledged.values(), default=0), "a read older than a write"


class Watcher:
    """Follows the ConfigMaps of the writers by whichever control plane answers, always from where it was."""

    def __init__(self, clients: list[Client], first: int) -> None:
        self._doors = Doors(clients, first)
        self.seen: list[tuple[int, str]] = []

    async def run(self) -> None:
        listed = await self._doors.until(lambda client: client.list(CONFIGMAP, "default"))
        version = self.started = int(listed.resource_version)
        while True:
            with contextlib.suppress(ApiError, TransportError):
                async for event in self._doors.now.watch(CONFIGMAP, "default", resource_version=str(version)):
                    if event.type == "ERROR":
                        break
                    version = int(event.object["metadata"]["resourceVersion"])
                    if event.type != "BOOKMARK" and event.object["metadata"]["name"].startswith("w"):
                        self.seen.append((version, event.object["data"]["n"]))
            self._doors.turn()
            await asyncio.sleep(0.05)


async def test_any_one_of_them_is_killed(etcd: Members, planes: list[Plane]) -> None:
    """No acknowledged write is lost, none is done twice, watches have no gaps, controllers go on, clients too."""
    async with contextlib.AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(plane.client()) for plane in planes]
        writers = [Writer(clients, n) for n in range(WRITERS)]
        watchers = [Watcher(clients, n) for n in range(2)]
        tasks = [asyncio.ensure_future(each.run()) for each in (*watchers, *writers)]
        opened.callback(lambda: [task.cancel() for task in tasks])
        async with asyncio.timeout(150):
            assert await servers(clients[1]) == sorted(plane.settings.api_port for plane in planes)
            await more(writers, tasks)
            other = next(member for member in etcd.all if not member.is_leader())
            for name, kill, revive in (
                ("member", other.stop, other.start),
                *(
                    (f"plane-{n}", lambda p=plane: p.send(signal.SIGKILL), plane.start)
                    for n, plane in enumerate(planes)
                ),
            ):
                kill()
                await more(writers, tasks)
                await controllers_work(clients, name)
                revive()
                if name.startswith("plane"):
                    await planes[int(name[-1])].settled()
            leader = etcd.leader()
            assert leader is not None
            leader.stop()
            await more(writers, tasks)
            await controllers_work(clients, "leader")
            for task in tasks[len(watchers) :]:
                task.cancel()
            await check(etcd, writers, watchers)


async def more(writers: list[Writer], tasks: list[asyncio.Future[None]]) -> None:
    """Each writer has so many more writes acknowledged."""
    goals = {writer: len(writer.acknowledged) + MORE for writer in writers}
    while any(len(writer.acknowledged) < goal for writer, goal in goals.items()):
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.02)


async def servers(client: Client) -> list[int]:
    """The ports of all that are behind the Service kubernetes."""
    found = await client.get(ENDPOINTS, "kubernetes", "default")
    return sorted(port["port"] for subset in found["subsets"] for port in subset["ports"])


async def controllers_work(clients: list[Client], name: str) -> None:
    """A Deployment gets its ReplicaSet, from whoever leads by now."""
    made = {**deployment(name), "metadata": {"name": name, "namespace": "default"}}
    doors = Doors(clients, 0)
    with contextlib.suppress(ApiError):  # it was created the first time
        await doors.until(lambda client: client.create(DEPLOYMENT, made))
    while True:
        sets = await doors.until(lambda client: client.list(REPLICASET, "default"))
        if any(each["metadata"]["name"].startswith(name) for each in sets.items):
            return
        await asyncio.sleep(0.05)


async def check(etcd: Members, writers: list[Writer], watchers: list[Watcher]) -> None:
    """Against etcd's own history, revision by revision."""
    from sampan.store.etcd import EtcdStore

    store = await EtcdStore.open(etcd.url)
    upto = await store.revision()
    events = [event for event in await store._events(1, upto) if event.key.startswith(f"{PLACE}w")]
    await store.close()
    counted = [
        (event.revision, event.key.removeprefix(PLACE), orjson.loads(event.value or b"")["data"]["n"])
        for event in events
    ]
    for writer in writers:
        own = {revision: int(n) for revision, name, n in counted if name == writer.name}
        assert writer.acknowledged.items() <= own.items()
        assert set(own.values()) <= {0, *writer.acknowledged.values(), *writer.unknown}
        assert all(before < after for before, after in pairwise(own.values()))
    together = [revision for writer in writers for revision in writer.acknowledged]
    assert len(together) == len(set(together))
    for watcher in watchers:
        wanted = [(revision, n) for revision, _, n in counted if revision > watcher.started]
        while len(watcher.seen) < len(wanted):
            await asyncio.sleep(0.05)
        assert watcher.seen == wanted


async def test_addresses_and_ports_are_given_once(planes: list[Plane]) -> None:
    """Services that are made at both at once, all with node ports, have no address or port in common."""
    async with planes[0].client() as first, planes[1].client() as second:
        asked = [client.create(SERVICE, service(f"s{n}")) for n in range(12) for client in (first,)]
        asked += [second.create(SERVICE, service(f"t{n}")) for n in range(12)]
        made = await asyncio.gather(*asked)
        fixed = await asyncio.gather(
            *(client.create(SERVICE, service(f"fixed-{n}", "10.96.0.77")) for n, client in enumerate((first, second))),
            return_exceptions=True,
        )
    addresses = {found["spec"]["clusterIP"] for found in made}
    ports = {port["nodePort"] for found in made for port in found["spec"]["ports"]}
    assert (len(addresses), len(ports)) == (24, 24)
    refused = [error for error in fixed if isinstance(error, ApiError)]
    assert [error.code for error in refused] == [422]
    assert "provided IP is already allocated" in str(refused[0])


def service(name: str, address: str = "") -> Tree:
    spec = {"type": "NodePort", "ports": [{"port": 80}], **({"clusterIP": address} if address else {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
