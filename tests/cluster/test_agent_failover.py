"""A node's agent and two control planes: whichever stands still or dies, the node stays Ready and pods begin."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.cluster import agents, further_plane, host, processes
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.meta import conditions
from tests.cluster.test_election_over_etcd import Plane
from tests.store.etcd import Etcd, free_ports, program

pytestmark = pytest.mark.slow
GRACE_SECONDS = 20.0


class Agent:
    """The agent of the first control plane's one node."""

    def __init__(self, plane: Plane) -> None:
        self.name = plane.settings.node_names()[0]
        self._config = agents.write_config(plane.settings, 0)
        self._process = host.node_agent(plane.settings, self.name)

    def start(self) -> None:
        command = [sys.executable, "-m", "sampan.cluster.agent_process", "--config", str(self._config)]
        processes.start(self._process, command)

    def kill(self) -> None:
        if pid := self._process.pid:
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    program()
    pytest.importorskip("grpc")
    made = Etcd(tmp_path / "etcd")
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def planes(tmp_path: Path, etcd: Etcd) -> AsyncIterator[list[Plane]]:
    """The first has a node; the second is made from its directory."""
    ports = free_ports(2)
    made = [Plane(tmp_path / name, etcd.url, port) for name, port in zip("ab", ports, strict=True)]
    first, second = made
    first.settings = dataclasses.replace(first.settings, nodes=1, node_grace_seconds=GRACE_SECONDS)
    first.settings.directory.mkdir()
    first.settings.save()
    try:
        first.start()
        await first.settled()
        taken = further_plane.of(first.settings.directory, "b", second.settings.directory)
        further_plane.take_over(first.settings.directory, taken)
        second.settings = dataclasses.replace(taken, api_port=ports[1])
        second.settings.save()
        second.start()
        await second.settled()
        yield made
    finally:
        for plane in made:
            plane.end()


@pytest.fixture
def agent(planes: list[Plane]) -> Iterator[Agent]:
    made = Agent(planes[0])
    made.start()
    yield made
    made.kill()


async def test_a_node_has_several_control_planes(planes: list[Plane], agent: Agent) -> None:
    """The first stands still, the second is killed, and then the first while the agent starts: pods begin each time."""
    first, second = planes
    async with first.client() as one, second.client() as two, asyncio.timeout(150):
        ready = await ready_node(one, agent.name)
        await runs(one, agent.name, "at-first")

        first.send(signal.SIGSTOP)
        await runs(two, agent.name, "still")
        await listed(two, second)
        first.send(signal.SIGCONT)
        await listed(two, first, second)

        second.send(signal.SIGKILL)
        await runs(one, agent.name, "killed")
        second.start()
        await second.settled()
        await listed(two, first, second)

        assert await ready_node(one, agent.name) == ready, "it was Ready all the time"
        agent.kill()
        first.send(signal.SIGKILL)
        agent.start()
        await runs(two, agent.name, "started")


async def ready_node(client: Client, name: str) -> str:
    """Since when the node is Ready."""
    while True:
        for node in (await client.list(NODE)).items:
            if node["metadata"]["name"] == name and conditions.is_true(node, "Ready"):
                assert not any(t["key"].endswith("unreachable") for t in node["spec"].get("taints") or ())
                found = conditions.get(node, "Ready")
                assert found is not None
                return str(found["lastTransitionTime"])
        await asyncio.sleep(0.05)


async def runs(client: Client, node: str, name: str) -> None:
    """A new pod of the node comes up, as its agent says."""
    container = {"name": "c", "image": "busybox"}
    metadata = {"name": name, "namespace": "default"}
    pod: Any = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    await client.create(POD, {**pod, "spec": {**pod["spec"], "nodeName": node}})
    while not conditions.is_true(await client.get(POD, name, "default"), "Ready"):
        await asyncio.sleep(0.05)


async def listed(client: Client, *planes: Plane) -> None:
    """These are behind the Service kubernetes, and no others."""
    wanted = sorted(plane.settings.api_port for plane in planes)
    while True:
        found = await client.get(ENDPOINTS, "kubernetes", "default")
        if sorted(port["port"] for subset in found["subsets"] for port in subset["ports"]) == wanted:
            return
        await asyncio.sleep(0.05)
