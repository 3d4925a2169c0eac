"""An agent with plugins, which are played here: what becomes of pods that want something of them, and of the node."""

import pytest

from sampan.kinds.core.pod import POD
from sampan.meta import objects
from sampan.node import devices
from sampan.node.given import NOTHING, Given
from sampan.node.runtime.protocol import Device, Mount
from tests.node.conftest import Node
from tests.node.test_agent import Hanging, make_pod, mark_deleted, seen

NAME = "example.com/dev"
WITH_CLAIM = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}


class Played:
    """Says what it is told to say. `calls` has what it was asked."""

    def __init__(self):
        self.calls, self.reason, self.failure, self.held = [], None, None, set()
        self.given_now, self.how, self.has = NOTHING, {}, {}

    def open(self, told):
        self.told = told
        self.calls.append("open")

    def start(self):
        self.calls.append("start")

    async def close(self):
        self.calls.append("close")

    def amounts(self):
        return self.has, dict.fromkeys(self.has, "0")

    async def admit(self, pod):
        return self.reason

    async def prepare(self, pod, claims):
        if self.failure:
            raise devices.failure(self.failure)

    async def given(self, pod, container):
        return self.given_now

    def health(self, pod):
        return self.how

    def pods(self):
        return self.held

    async def release(self, uid):
        self.calls.append(f"release {uid}")
        if self.failure:
            raise OSError(self.failure)

    async def release_at_last(self, uid):
        self.calls.append(f"release {uid} at last")


@pytest.fixture
def plugins():
    return Played()


@pytest.fixture
def node(tmp_path, plugins):
    made = Node(tmp_path)
    made.end()
    made.plugins = plugins
    made.begin()
    yield made
    made.end()
    assert plugins.calls[-1] == "close"
    made.loop.close()


def test_a_pod_that_gets_something(node, plugins):
    """Its container has it, what the pod says itself comes first, and its status says how it is."""
    given = Given(
        env=(("A", "given"), ("B", "given")),
        mounts=(Mount("/s", "/given"), Mount("/s", "/etc/hosts")),
        devices=(Device("/dev/null", "/dev/d"),),
        annotations=(("note", "n"),),
        cdi_devices=("example.com/d=a",),
    )
    entry = {"name": NAME, "resources": [{"resourceID": "a", "health": "Healthy"}]}
    plugins.given_now, plugins.how = given, {"app": [entry]}
    make_pod(node, container={"env": [{"name": "A", "value": "own"}]})
    node.loop.advance(1)
    (config,) = node.runtime.configs
    assert (dict(config.env)["A"], dict(config.env)["B"]) == ("own", "given")
    assert (config.devices, config.cdi_devices) == (given.devices, given.cdi_devices)
    assert config.annotations == given.annotations
    assert config.mounts[:2] == given.mounts
    assert seen(node)["containerStatuses"][0]["allocatedResourcesStatus"] == [entry]
    assert [objects.name(pod) for pod in plugins.told.pods()] == ["web"]
    ill = {"name": NAME, "resources": [{"resourceID": "a", "health": "Unhealthy"}]}
    plugins.how = {"app": [ill]}
    plugins.told.look_at(node.client.find("pods", "web")["metadata"]["uid"])
    node.loop.advance(1)
    assert seen(node)["containerStatuses"][0]["allocatedResourcesStatus"] == [ill]


def test_a_pod_that_does_not_get_it(node, plugins):
    """Is turned away before anything of it starts."""
    plugins.reason = ("UnexpectedAdmissionError", "Allocate failed due to much, which is unexpected")
    make_pod(node)
    node.loop.advance(2)
    assert (seen(node)["phase"], seen(node)["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert seen(node)["message"] == "Pod was rejected: Allocate failed due to much, which is unexpected"
    assert plugins.reason in node.client.events()
    assert node.runtime.configs == []


def test_a_claim_that_can_not_be_prepared(node, plugins):
    """Has its pod wait; it starts when the driver has changed its mind, and gives back in the end what it held."""
    plugins.failure = "no power"
    make_pod(node)
    pod = objects.copy(node.client.find("pods", "web"))
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "gpu"}]
    node.client.drop(POD, ("default", "web"))
    node.loop.advance(5)
    pod["metadata"]["uid"] = "again"
    plugins.calls.clear()
    node.client.put(POD, pod)
    node.loop.advance(1)
    text = "Failed to prepare dynamic resources: prepare dynamic resources: no power"
    assert ("FailedPrepareDynamicResources", text) in node.client.events()
    plugins.failure = None
    node.loop.advance(3)
    assert seen(node)["phase"] == "Pending"
    plugins.told.try_again()
    node.loop.advance(1)
    assert seen(node)["phase"] == "Running"
    plugins.failure = "gone"
    mark_deleted(node, grace=1)
    node.loop.advance(10)
    assert plugins.calls.count("release again") > 1
    assert node.client.find("pods", "web")
    plugins.failure = None
    node.loop.advance(5)
    assert node.client.find("pods", "web") is None


@pytest.mark.parametrize("call", ["admit", "prepare"])
def test_who_is_deleted_while_a_driver_hangs(node, plugins, monkeypatch, call):
    """It is broken off, and what may have been done is given back."""
    hanging = Hanging()
    monkeypatch.setattr(plugins, call, hanging)
    make_pod(node, **WITH_CLAIM)
    uid = node.client.find("pods", "web")["metadata"]["uid"]
    node.loop.advance(30)
    assert (hanging.begun, hanging.broken_off) == (1, 0)
    mark_deleted(node, 30)
    node.loop.advance(3)
    assert (hanging.begun, hanging.broken_off) == (1, 1)
    assert node.client.find("pods", "web") is None
    assert f"release {uid}" in plugins.calls
    assert not {"Failed", "FailedPrepareDynamicResources"} & {reason for reason, _ in node.client.events()}


def test_what_pods_had_that_are_gone(node, plugins):
    """Is given back by the next agent, which knows it before it looks at pods."""
    node.end()
    plugins.held = {"lost"}
    plugins.calls.clear()
    node.begin()
    node.loop.advance(1)
    assert plugins.calls[0] == "open"
    assert "release lost at last" in plugins.calls


def test_the_node_says_what_it_has(node, plugins):
    """As soon as that is otherwise."""
    plugins.has = {NAME: "2"}
    plugins.told.offer()
    node.loop.advance(1.5)
    status = node.client.find("nodes", "node-1", "")["status"]
    assert (status["capacity"][NAME], status["allocatable"][NAME]) == ("2", "0")
    assert "cpu" in status["capacity"]
