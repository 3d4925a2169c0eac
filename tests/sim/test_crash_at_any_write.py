"""The control plane crashes at any write of a small story: it ends as if nothing had happened.

As a rule at each fourth write, and in a thorough run at each of them in turn.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sampan.client.transport import TransportError
from sampan.cluster import invariants
from sampan.cluster.faults import Faults
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.kind import Kind
from sampan.meta import objects
from sampan.meta.status import ApiError
from tests import thorough
from tests.sim import trees

Tree = dict[str, Any]

BACK_SECONDS = 3.0
MAX_WRITES = 160
BLOCK = 20
SEED = 1


class Story:
    """A Deployment that is rolled and deleted, a Job and a Service, made by somebody who tries again and again."""

    def __init__(self, crash_at: int) -> None:
        self.cluster = SimulatedCluster(seed=SEED, nodes=2)
        self.faults = Faults(self.cluster)
        self.crash_at = crash_at

    def play(self) -> tuple[int, Counter[str]]:
        """How many writes there were, and what was there in the end."""
        with self.cluster as cluster:
            began = len(cluster.history)
            watched = invariants.watch(cluster, faults=self.faults)
            if self.crash_at:
                self.faults.crash_at_write(self.crash_at, back_after=BACK_SECONDS)
            client, key = cluster.client, ("default", "web")
            for kind, made in self.objects():
                self.insist(functools.partial(client.create, kind, made))
            cluster.advance(20)
            rolled = {"replicas": 1, "template": trees.template(image="web:2")}
            self.insist(lambda: client.patch(DEPLOYMENT, key, {"spec": rolled}))
            cluster.advance(40)
            self.insist(lambda: client.delete(DEPLOYMENT, key))
            cluster.advance(90)
            changes = cluster.history[began:]
            self.faults.end()
            cluster.advance(10)
            watched.settled()
            return len({change.tree["metadata"]["resourceVersion"] for change in changes}), self.end()

    def objects(self) -> list[tuple[Kind, Tree]]:
        service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        made = (
            trees.deployment(2),
            trees.job(completions=2, parallelism=2, backoffLimit=10, orders={"run_seconds": "3"}),
            trees.tree("v1", "Service", "web", spec=service),
        )
        return [(self.cluster._kind(each), each) for each in made]

    def insist(self, do: Callable[[], Awaitable[Tree | None]]) -> None:
        """Until it is done; what was done before the answer was lost is found so."""

        async def again() -> None:
            while True:
                try:
                    await do()
                except TransportError:
                    await asyncio.sleep(1)
                except ApiError as error:
                    if error.code not in (404, 409):
                        raise
                    return
                else:
                    return

        self.cluster.run(again())

    def end(self) -> Counter[str]:
        """How many objects there are of each kind, owner and phase; but for those that tell of the past."""
        world: Counter[str] = Counter()
        for kept in self.cluster.app.cache.kinds():
            if kept.resource in ("events", "leases.coordination.k8s.io"):
                continue
            for obj in (item.tree for item in kept.range()):
                owner = objects.controller_of(obj)
                phase = obj["status"].get("phase", "") if kept.resource == "pods" else ""
                world[f"{kept.resource} of {owner['name'] if owner else objects.namespace(obj)} {phase}"] += 1
        return world


@functools.cache
def undisturbed() -> tuple[int, Counter[str]]:
    """The story without a crash."""
    return Story(0).play()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, MAX_WRITES, BLOCK))
def test_a_crash_at_any_write(first: int) -> None:
    """All invariants hold at each change, and the end is that of the story without a crash."""
    count, expected = undisturbed()
    assert count < MAX_WRITES
    for number in thorough.each(4, range(first, min(first + BLOCK, count + 1))):
        story = Story(number)
        _, found = story.play()
        assert [what for _, what in story.faults.log] == ["crash the control plane", "start the control plane"]
        assert found == expected, f"with a crash at write {number}"
