"""Two control planes, each a process of its own, on one etcd: one leads at a time, and the other one when that is gone.

What they write is read from etcd itself, revision by revision.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any

import orjson
import pytest

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import load
from sampan.cluster import candidate, host, pki, processes
from sampan.cluster.settings import Settings
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core.event import EVENT
from sampan.kit.clock import SystemClock
from sampan.meta import objects, timestamps
from sampan.server.cache import prefix
from sampan.store.protocol import Batch, Store
from sampan.web.message import Request
from tests.server.conftest import deployment
from tests.store.etcd import Etcd, free_ports, program

Tree = dict[str, Any]

NAMES = ("kube-controller-manager", "kube-scheduler")
LEASES, SETS, EVENTS = f"{prefix(LEASE)}kube-system/", prefix(REPLICASET), prefix(EVENT)
LEASE_SECONDS = 1


class Plane:
    """A control plane without nodes."""

    def __init__(self, directory: Path, store: str, port: int) -> None:
        self.settings = Settings(
            "sampan", directory, api_port=port, nodes=0, runtime="simulated", store=store,
            lease_seconds=LEASE_SECONDS, renew_seconds=0.8, retry_seconds=0.2,
        )  # fmt: skip
        self._process = host.control_plane(self.settings)
        self._told: IO[str] | None = None

    @property
    def identity(self) -> str:
        """What it is called in leases."""
        return self.settings.path(candidate.NOTED).read_text().splitlines()[0]

    def start(self) -> None:
        reader, writer = os.pipe()
        directory = str(self.settings.directory)
        command = [sys.executable, "-m", "sampan.cluster.control_plane_process", directory, str(writer)]
        processes.start(self._process, command, (writer,))
        os.close(writer)
        self._told = os.fdopen(reader)

    async def settled(self) -> None:
        """Until somebody leads, this one or another."""
        assert self._told is not None
        lines: list[str] = []
        while lines[-1:] != ["controllers\n"]:
            lines.append(await asyncio.to_thread(self._told.readline))
            assert lines[-1], f"it has ended: {processes.tail(self._process.log, 20)}"
        self._told.close()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def end(self) -> None:
        """If it runs still, stopped or not."""
        if self._process.pid:
            self.send(signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        transport = HttpTransport(load(self.settings.path("kubeconfig")))
        try:
            yield Client(transport, "test")
        finally:
            await transport.close()


class Witness:
    """What happens in etcd. `past` is each state of each lease, in order."""

    def __init__(self, store: Store) -> None:
        self._batches: AsyncIterator[Batch] = store.watch("/registry/", 1)
        self.state: dict[str, Tree] = {}
        self.past: dict[str, list[Tree]] = {name: [] for name in NAMES}

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            for key, _, value, _ in (await anext(self._batches)).events:
                self._note(key, value)

    def _note(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.state.pop(key, None)
        elif key.startswith((LEASES, SETS, EVENTS)):
            self.state[key] = orjson.loads(value)
        name = key.removeprefix(LEASES)
        if name in self.past:
            self.past[name].append(self.state[key]["spec"])

    def holder(self, name: str) -> str:
        past = self.past[name]
        return str(past[-1].get("holderIdentity") or "") if past else ""

    def leads(self, plane: Plane) -> bool:
        """Whether it has all leases."""
        return {self.holder(name) for name in NAMES} == {plane.identity}

    def told(self, text: str) -> int:
        """About how many leases that was said."""
        found = [event for key, event in self.state.items() if key.startswith(EVENTS)]
        return len({e["involvedObject"]["name"] for e in found if e.get("message") == text})

    def owners(self) -> list[str]:
        """The owner of each ReplicaSet."""
        sets = [found for key, found in self.state.items() if key.startswith(SETS)]
        return sorted(objects.owner_references(found)[0]["name"] for found in sets)


@pytest.fixture
def planes(tmp_path: Path) -> Iterator[list[Plane]]:
    """Two with the same keys, as they would have behind one address; they don't run yet."""
    program()
    pytest.importorskip("grpc")
    etcd = Etcd(tmp_path / "etcd")
    made = [Plane(tmp_path / name, etcd.url, port) for name, port in zip("ab", free_ports(2), strict=True)]
    keys = pki.ensure(made[0].settings, SystemClock().now())
    shutil.copytree(keys, made[1].settings.path("pki"))
    for plane in made:
        plane.settings.save()
    etcd.start()
    try:
        yield made
    finally:
        for plane in made:
            plane.end()
        etcd.stop()


@pytest.fixture
async def witness(planes: list[Plane]) -> AsyncIterator[Witness]:
    from sampan.store.etcd import EtcdStore

    store = await EtcdStore.open(planes[0].settings.store)
    yield Witness(store)
    await store.close()


@pytest.mark.slow
async def test_the_other_one_takes_over(planes: list[Plane], witness: Witness) -> None:
    """When the leader stands still (it leads no more when it goes on), is killed, or asked to end."""
    for plane in planes:
        plane.start()
    await asyncio.gather(*(plane.settled() for plane in planes))
    first = await leader(planes, witness)
    second = other(planes, first)

    first.send(signal.SIGSTOP)
    await works(second, witness, "still")
    first.send(signal.SIGCONT)
    await witness.until(lambda: witness.told(f"{first.identity} stopped leading") == len(NAMES))
    assert [await masters(first), await masters(second)] == [0, len(NAMES)]

    second.send(signal.SIGKILL)
    await works(first, witness, "killed")
    second.start()
    await second.settled()

    first.send(signal.SIGTERM)
    await works(second, witness, "asked")
    assert witness.owners() == ["asked", "killed", "still"]
    assert_never_two(witness)


async def leader(planes: list[Plane], witness: Witness) -> Plane:
    """Who leads, once all is led by the same one."""
    await witness.until(lambda: any(map(witness.leads, planes)))
    return next(filter(witness.leads, planes))


def other(planes: list[Plane], plane: Plane) -> Plane:
    return next(each for each in planes if each is not plane)


async def works(plane: Plane, witness: Witness, name: str) -> None:
    """Waits until it leads, and gives it something to do."""
    await witness.until(lambda: witness.leads(plane))
    async with plane.client() as client:
        await client.create(DEPLOYMENT, {**deployment(name), "metadata": {"name": name, "namespace": "default"}})
    await witness.until(lambda: name in witness.owners())


async def masters(plane: Plane) -> int:
    """How many leases it thinks to have."""
    async with plane.client() as client:
        answer = await client.transport.request(Request("GET", "/metrics", (), {}))
    assert isinstance(answer.body, bytes)
    lines = answer.body.decode().splitlines()
    return sum(line.startswith("leader_election_master_status{") and line.endswith(" 1") for line in lines)


def assert_never_two(witness: Witness) -> None:
    """A lease came into other hands when it had been given back, or was not renewed for its whole time."""
    for past in witness.past.values():
        hands = 0
        for before, after in zip(past, past[1:], strict=False):
            had, has = before.get("holderIdentity"), after.get("holderIdentity")
            hands += bool(has) and has != had
            if had and has and has != had:
                assert seconds(after["acquireTime"]) - seconds(before["renewTime"]) >= LEASE_SECONDS
        assert hands == past[-1]["leaseTransitions"] >= 3


def seconds(text: str) -> float:
    return timestamps.parse(text)
