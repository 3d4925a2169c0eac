"""The agent is killed before or after each single thing that it does to the world: the pod's story ends the same."""

import asyncio

import pytest

from sampan.kinds.core.pod import POD
from sampan.meta import objects
from sampan.node import simulated
from sampan.node.runtime.protocol import RUNNING
from tests.node.conftest import Node
from tests.node.test_agent import make_pod, mark_deleted, seen

RESTART_SECONDS = 3


class Keeping(simulated.SimulatedVolumes):
    """Volumes that stay where they are until they are taken away."""

    def __init__(self):
        self.kept = set()

    async def prepare(self, pod, given):
        self.kept.add(objects.uid(pod))
        return await super().prepare(pod, given)

    def pods(self):
        return set(self.kept)

    async def teardown(self, pod_uid):
        self.kept.discard(pod_uid)


class Deadly:
    """Passes calls on; at the wanted one the agent is dead before or after it was carried out."""

    def __init__(self, world, target, names):
        self._world, self._target, self._names = world, target, names

    def __getattr__(self, name):
        found = getattr(self._target, name)
        return self._counted(name, found) if name in self._names else found

    def _counted(self, name, call):
        world = self._world

        async def carried_out(*arguments, **options):
            number, when = world.count(name, arguments)
            if (number, when) == (world.deadly, "before"):
                await world.die()
            result = await asyncio.shield(asyncio.ensure_future(call(*arguments, **options)))
            if (number, when) == (world.deadly, "after"):
                await world.die()
            return result

        return carried_out


class World(Node):
    """A node whose agent dies at one call, and comes back a little later."""

    def __init__(self, root, deadly=0, when="before"):
        self.deadly, self.when, self.calls, self.deaths, self.doubled = deadly, when, [], 0, []
        self.volumes = Keeping()
        super().__init__(root)

    def count(self, name, arguments):
        if name == "patch" and arguments[0] is not POD:
            return -1, self.when
        self.calls.append(name)
        if name == "start":
            config = arguments[0]
            self.doubled += [s.id for s in self.runtime.states.values() if s.state == RUNNING and s.name == config.name]
        return len(self.calls), self.when

    async def die(self):
        self.deaths += 1
        self.agent.kill()
        self.loop.call_later(RESTART_SECONDS, self.begin_again)
        await asyncio.Event().wait()

    def begin_again(self):
        self.begin(wait=False)

    def parts(self):
        made = super().parts()
        runtime = Deadly(self, made.runtime, ("start", "stop", "remove", "release", "prepare"))
        network, volumes = (
            Deadly(self, made.network, ("add", "remove")),
            Deadly(self, self.volumes, ("prepare", "teardown")),
        )
        client = Deadly(self, made.client, ("patch", "delete"))
        return made.__class__(
            **{
                **{name: getattr(made, name) for name in made.__dataclass_fields__},
                "runtime": runtime,
                "network": network,
                "volumes": volumes,
                "client": client,
            }
        )


def story(world):
    """Two init steps, two containers of which one fails once, and a deletion; how often each was restarted."""
    inits = [{"name": "init", "image": "app:1"}]
    side = {"name": "side", "image": "app:1", "restartPolicy": "Always"}
    volumes = [{"name": "scratch", "emptyDir": {}}]
    make_pod(world, initContainers=[*inits, side], volumes=volumes, container={"name": "app"})
    uid = objects.uid(world.client.find("pods", "web"))

    def ends(name, attempt, code):
        container = f"{name}-{attempt}-{uid}"
        until(world, lambda: container in world.runtime.states and world.runtime.states[container].state == RUNNING)
        world.runtime.end(container, code)

    ends("init", 0, 0)
    until(world, lambda: seen(world).get("phase") == "Running")
    ends("app", 0, 1)
    until(world, lambda: any(s["restartCount"] and "running" in s["state"] for s in statuses(world)))
    found = {status["name"]: status["restartCount"] for status in statuses(world)}
    mark_deleted(world, grace=5)
    until(world, lambda: not [key for key in world.client.objects if key[0] == "pods"])
    world.loop.advance(20)
    return found


def statuses(world):
    status = seen(world)
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def until(world, condition):
    for _ in range(400):
        if condition():
            return
        world.loop.advance(0.25)
    raise AssertionError("the story doesn't go on")


def played(root, deadly=0, when="before"):
    world = World(root, deadly, when)
    restarts = story(world)
    left = (world.runtime.states, world.loop.run_until_complete(world.network.attachments()), world.volumes.kept)
    calls, deaths, doubled = world.calls, world.deaths, world.doubled
    world.end()
    world.loop.close()
    return restarts, left, calls, deaths, doubled


@pytest.mark.parametrize("when", ["before", "after"])
def test_each_step(tmp_path, when):
    """No container twice, none restarted that need not be, nothing left."""
    expected, left, calls, _, doubled = played(tmp_path)
    assert (expected, doubled) == ({"init": 0, "side": 0, "app": 1}, [])
    assert left == ({}, {}, set())
    assert {"start", "stop", "add", "remove", "prepare", "teardown", "patch", "delete"} <= set(calls)
    for number in range(1, len(calls) + 1):
        restarts, left, seen_calls, deaths, doubled = played(tmp_path, number, when)
        what = f"{when} call {number}: {seen_calls[number - 1]}"
        assert deaths == 1, what
        assert doubled == [], what
        assert restarts == expected, what
        assert left == ({}, {}, set()), what
