"""Everything goes wrong at once, from a seed: `python tests/sim/storm.py [SEED ...]` prints each history's digest.

A Deployment, two Jobs, a Service, a quota and a disruption budget live through errors, lost answers, broken watches,
a node's crash and another one's partition, and crashes of the control plane. All invariants hold at each
change, and when it is over everything is as it should be.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from sampan.client.transport import TransportError
from sampan.cluster import invariants
from sampan.cluster.aim import CONTROLLERS, WRITES, Aim
from sampan.cluster.faults import Fault, Faults
from sampan.cluster.simulated import SimulatedCluster, digest
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from sampan.sim.jitter import Jitter
from tests.sim import trees

Tree = dict[str, Any]

STORM_SECONDS = 150
CALM_SECONDS = 1200
LATE_SECONDS = 0.3


class Storm:
    """One cluster and what happens to it. `rivals`: with a second set of controllers for a while."""

    def __init__(self, seed: int, *, rivals: bool = False) -> None:
        self.cluster = SimulatedCluster(seed=seed, nodes=3)
        self.rivals = rivals

    def play(self) -> str:
        """The storm, and the calm after it; returns the history's digest."""
        with self.cluster as cluster:
            self.faults = Faults(cluster)
            self.dice = self.faults.dice.of("storm")
            cluster.doors.interceptors.append(Jitter(LATE_SECONDS, self.dice.of("jitter"), lambda: cluster.time))
            watched = invariants.watch(cluster)
            self.create()
            self.plan()
            self.work()
            cluster.advance(STORM_SECONDS)
            self.faults.end()
            cluster.advance(CALM_SECONDS)
            watched.settled()
            for name in ("sum", "list"):
                assert conditions.is_true(cluster.get(JOB, name, "default"), "Complete")
        return digest(cluster.history)

    def create(self) -> None:
        budget = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
        service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        many = {"completions": 6, "parallelism": 3, "backoffLimit": 100, "orders": {"run_seconds": "5"}}
        for made in (
            trees.tree("v1", "ResourceQuota", "quota", spec={"hard": {"pods": "25", "count/jobs.batch": "10"}}),
            trees.deployment(6),
            trees.job(**many),
            trees.job("list", completionMode="Indexed", **many),
            trees.tree("v1", "Service", "web", spec=service),
            trees.tree("policy/v1", "PodDisruptionBudget", "web", spec=budget),
        ):
            self.cluster.create(made)

    def plan(self) -> None:
        """What goes wrong, and when."""
        faults, dice = self.faults, self.dice
        nodes = dice.shuffled(list(self.cluster.machines))
        self.now_and_then(3, lambda: faults.errors(dice.pick([500, 503, 429]), Aim(chance=0.3)))
        self.now_and_then(3, lambda: faults.lost_answers(Aim(chance=0.2, verbs=WRITES)))
        self.now_and_then(2, lambda: faults.conflicts(Aim(chance=0.3, verbs=("update", "patch", "delete"))))
        self.now_and_then(1, lambda: faults.latency(0, 2))
        self.now_and_then(1, lambda: faults.late_watches(dice.between(1, 20), Aim(users=CONTROLLERS)))
        self.now_and_then(1, lambda: faults.silent_watches(Aim(resources=(dice.pick(["pods", "jobs.batch"]),))))
        self.now_and_then(1, lambda: faults.partition(nodes[0]))
        self.sometime(8, lambda: faults.drop_watches(Aim(chance=0.5)))
        self.sometime(2, lambda: faults.expire_watches(Aim(chance=0.5)))
        self.sometime(1, lambda: faults.crash_node(nodes[1], back_after=dice.between(1, 90)))
        faults.crash_at_writes(0.02, back_after=2.0, times=4)
        if self.rivals:
            faults.after(10, lambda: faults.after(60, faults.duplicate_controllers().end))

    def work(self) -> None:
        """What people do meanwhile, as far as they are let."""
        client, dice, key = self.cluster.client, self.dice, ("default", "web")

        async def scale() -> None:
            await client.patch(DEPLOYMENT, key, {"spec": {"replicas": dice.number(1, 12)}})

        async def roll() -> None:
            labels = {"version": str(dice.number(1, 99))}
            await client.patch(DEPLOYMENT, key, {"spec": {"template": {"metadata": {"labels": labels}}}})

        async def evict() -> None:
            found = [p for p in (await client.list(POD, "default")).items if objects.labels(p).get("app") == "web"]
            if found:
                name = objects.name(dice.pick(found))
                body = trees.tree("policy/v1", "Eviction", name)
                await client.create_subresource(POD, ("default", name), "eviction", body)

        for count, do in ((3, scale), (2, roll), (5, evict)):
            self.sometime(count, lambda do=do: self.attempt(do))  # type: ignore[misc]

    def attempt(self, do: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await do()
            except (ApiError, TransportError):
                return

        self.cluster.loop.create_task(run())

    def sometime(self, count: int, do: Callable[[], object]) -> None:
        for _ in range(count):
            self.faults.after(self.dice.between(0, STORM_SECONDS), do)

    def now_and_then(self, count: int, begin: Callable[[], Fault]) -> None:
        self.sometime(count, lambda: self.faults.after(self.dice.between(5, 40), begin().end))


if __name__ == "__main__":
    for seed in sys.argv[1:] or ["1"]:
        print(Storm(int(seed)).play())
