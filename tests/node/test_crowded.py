"""A node on which more pods start than may at once: what is merely said of them gives way to their start."""

import asyncio

import pytest

from sampan.kinds.core.pod import POD
from sampan.meta import timestamps
from sampan.node import agent, events, hands


class Gate:
    """Starts of containers stay under way until it is opened."""

    def __init__(self, node, monkeypatch):
        self._open, start = asyncio.Event(), node.runtime.start

        async def wait_and_start(config):
            await self._open.wait()
            return await start(config)

        monkeypatch.setattr(node.runtime, "start", wait_and_start)

    def open(self):
        self._open.set()


@pytest.fixture
def gate(node, monkeypatch):
    return Gate(node, monkeypatch)


def make_pods(node, count):
    for number in range(count):
        metadata = {"name": f"web-{number}", "namespace": "default", "generation": 1}
        metadata["creationTimestamp"] = timestamps.format(node.clock.now())
        spec = {"nodeName": "node-1", "containers": [{"name": "app", "image": "app:1"}], "restartPolicy": "Always"}
        status = {"phase": "Pending", "qosClass": "BestEffort"}
        node.client.put(POD, {"metadata": metadata, "spec": spec, "status": status})


def phases(node, count):
    return {node.client.find("pods", f"web-{number}")["status"]["phase"] for number in range(count)}


def told(node):
    return node.client.calls.count(("patch", "pods"))


def reasons(node):
    return {reason for reason, _ in node.client.events()} - {"Starting"}


@pytest.mark.parametrize("seconds", [0.0, 0.7])
def test_pods_of_a_crowd_are_told_of_once(node, gate, monkeypatch, seconds):
    """Each is reported when it runs, by one write, and its events come after that; also when their network takes time."""
    count, add = hands.STARTS_AT_ONCE + 4, node.network.add

    async def add_slowly(*request):
        await node.clock.sleep(seconds)
        return await add(*request)

    monkeypatch.setattr(node.network, "add", add_slowly)
    make_pods(node, count)
    node.loop.advance(1)
    assert (told(node), reasons(node)) == (0, set())
    gate.open()
    node.loop.advance(0.5)
    assert phases(node, count) == {"Running"}
    assert told(node) == count
    assert reasons(node) == {"Pulled", "Created", "Started"}


def test_a_crowd_that_lasts_is_told_of(node, gate):
    """After five seconds everybody sees that the containers are being made, and what happened so far."""
    count = hands.STARTS_AT_ONCE + 4
    make_pods(node, count)
    node.loop.advance(agent.CROWDED_STATUS_SECONDS - 0.5)
    assert told(node) == 0
    node.loop.advance(1)
    assert told(node) == count
    waiting = [node.client.find("pods", f"web-{n}")["status"]["containerStatuses"][0]["state"] for n in range(count)]
    assert waiting == [{"waiting": {"reason": "ContainerCreating"}}] * count
    node.loop.advance(events.CROWDED_SECONDS - agent.CROWDED_STATUS_SECONDS + 0.2)
    assert reasons(node) == {"Pulled"}
    gate.open()
    node.loop.advance(0.5)
    assert phases(node, count) == {"Running"}


def test_a_few_pods_are_told_of_soon(node, gate):
    """Where there is room for more, a pod that starts slowly is reported after a third of a second."""
    count = hands.STARTS_AT_ONCE - 1
    make_pods(node, count)
    node.loop.advance(0.4)
    assert told(node) == count
    assert reasons(node) == {"Pulled"}
