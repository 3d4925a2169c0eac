"""A machine without room for one more process, thread or file: the agent lives, the pod says why, and it is made good later."""

import errno
import os

import pytest

from sampan.node.network import nft
from sampan.node.volumes import mounted
from sampan.node.volumes.failure import VolumeFailure
from tests.node.test_agent import make_pod, mark_deleted, seen, state

WHY = "Resource temporarily unavailable"


class Full:
    """Stands before a function of the agent's parts: while the machine is full it fails."""

    def __init__(self, monkeypatch, part, name):
        self.is_full, self.refused, self.done = True, 0, 0
        real = getattr(part, name)

        async def called(*arguments):
            if self.is_full:
                self.refused += 1
                raise OSError(errno.EAGAIN, WHY)
            self.done += 1
            return await real(*arguments)

        monkeypatch.setattr(part, name, called)


def events(node, reason):
    return [message for found, message in node.client.events() if found == reason]


def test_a_pod_starts(node, monkeypatch):
    """Its network, its volumes and its container, one after the other: an event for each."""
    network, container = Full(monkeypatch, node.network, "add"), Full(monkeypatch, node.runtime, "start")
    volumes = Full(monkeypatch, node.agent.parts.volumes, "prepare")
    make_pod(node, volumes=[{"name": "a", "emptyDir": {}}])
    node.loop.advance(0.5)
    assert [WHY in message for message in events(node, "FailedCreatePodSandBox")] == [True]
    assert [WHY in message for message in events(node, "FailedMount")] == [True]
    network.is_full = volumes.is_full = False
    node.loop.advance(15)
    assert state(node)["waiting"]["reason"] == "CreateContainerError"
    assert f"Error: [Errno 11] {WHY}" in events(node, "Failed")
    container.is_full = False
    node.loop.advance(15)
    assert seen(node)["phase"] == "Running" and container.done == 1


def test_a_pod_ends(node, monkeypatch):
    """What it has is taken away when that can be done, and only then it is gone."""
    make_pod(node)
    node.loop.advance(0.5)
    network = Full(monkeypatch, node.network, "remove")
    mark_deleted(node, 1)
    node.loop.advance(5)
    assert network.refused > 1 and node.client.find("pods", "web") is not None
    assert f"error killing pod: [Errno 11] {WHY}" in events(node, "FailedKillPod")
    network.is_full = False
    node.loop.advance(5)
    assert network.done and node.client.find("pods", "web") is None


def test_a_container_that_is_replaced_is_removed_later(node, monkeypatch):
    """Nobody else knows of it any more."""
    make_pod(node)
    node.loop.advance(0.5)
    removal = Full(monkeypatch, node.runtime, "remove")
    for _ in range(3):
        node.runtime.end(max(node.runtime.states), 1)
        node.loop.advance(60)
    assert removal.refused and len(node.runtime.states) == 4
    removal.is_full = False
    node.loop.advance(30)
    assert len(node.runtime.states) == 2


@pytest.mark.parametrize("kind", ["exec", "tcpSocket"])
def test_a_probe(node, monkeypatch, kind):
    """It decides nothing, and the agent goes on probing."""
    handler = {"exec": {"command": ["x"]}} if kind == "exec" else {"tcpSocket": {"port": 80}}
    make_pod(node, container={"livenessProbe": {**handler, "periodSeconds": 1, "failureThreshold": 1}})
    name = "_exec" if kind == "exec" else "_tcp"
    full = Full(monkeypatch, node.agent.handlers, name)
    node.loop.advance(5)
    text = "Liveness probe errored and resulted in unknown state: resource temporarily unavailable"
    assert text in events(node, "Unhealthy") and not events(node, "Killing")
    refused = full.refused
    node.loop.advance(2)
    assert full.refused > refused and seen(node)["containerStatuses"][0]["restartCount"] == 0


async def refuse(*command, **options):
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def test_nft(monkeypatch):
    """That the rules can't be asked for is not that there are none."""
    monkeypatch.setattr("asyncio.create_subprocess_exec", refuse)
    for asking in (nft.apply("x"), nft.query("list", "tables"), nft.delete_table("x")):
        with pytest.raises(nft.NftError, match="fork/exec nft: resource temporarily unavailable"):
            await asking


async def test_mount(monkeypatch, tmp_path):
    """It is a failure of the volume, which is tried again."""

    def full(*command, **options):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess.Popen", full)
    with pytest.raises(VolumeFailure, match=r"fork/exec .*mount: resource temporarily unavailable"):
        await mounted.nfs({"server": "s", "path": "/"}, (), tmp_path / "m")
