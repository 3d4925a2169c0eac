"""The scheduler alone: how many pods a second it places, on how many nodes, by kinds of pods; and through the API.

    python benchmarks/scheduler.py [NODES ...]

Decisions and bookkeeping first, in one process, without a server; then with an API server (in the same process, in
memory, without controllers and node agents), through which the scheduler learns of pods, binds them and tells of it; the
last line is a whole simulated cluster whose nodes run the pods. All is told by CPU time, so that other programs on the machine
matter little. Ratios are to plain pods on as many nodes. Holds are the longest (by CPU time) that the loop was
held by one callback, while 5 pods looked for victims at once.
"""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sampan.cluster import control_plane, wiring
from sampan.cluster.settings import DEFAULT_NAME, Settings
from sampan.kinds.builtin import KINDS as BUILTIN
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.scheduling import cycle, demand
from sampan.scheduling.loop import Scheduler
from sampan.scheduling.snapshot import Snapshot
from sampan.server import bootstrap
from sampan.server.app import App, Parts
from sampan.store.memory import MemoryStore
from sampan.testing import Cluster
from sampan.web import certificates
from sampan.web.message import Peer

PODS = 2000
WRITERS = 32
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SELF = {"matchLabels": {"app": "web"}}


def cluster(nodes: int) -> Snapshot:
    made = Snapshot()
    for n in range(nodes):
        labels = {HOST: f"n{n}", ZONE: f"z{n % 3}"}
        allocatable = {"cpu": "32", "memory": "128Gi", "pods": "110"}
        metadata = {"name": f"n{n}", "labels": labels}
        made.set_node({"metadata": metadata, "spec": {}, "status": {"allocatable": allocatable}})
    return made


def pod(n: int, owner: str = "", priority: int = 0, cpu: str = "100m", **spec: Any) -> Any:
    metadata: dict[str, Any] = {"name": f"p{n}", "namespace": "default", "uid": f"u{n}", "labels": {"app": "web"}}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "kind": "ReplicaSet", "controller": True}]
    container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": cpu, "memory": "200Mi"}}}
    return {"metadata": metadata, "spec": {"containers": [container], "priority": priority, **spec}}


def term(key: str) -> dict[str, Any]:
    return {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": SELF}]}


def constraint(key: str) -> dict[str, Any]:
    return {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELF}


KINDS: dict[str, Any] = {
    "plain": pod,
    "of one ReplicaSet": lambda n: pod(n, "rs"),
    "of 100 ReplicaSets": lambda n: pod(n, f"rs-{n % 100}"),
    "spread over zones and hosts": lambda n: pod(n, topologySpreadConstraints=[constraint(ZONE), constraint(HOST)]),
    "near one another, in a zone": lambda n: pod(n, affinity={"podAffinity": term(ZONE)}),
    "one on a host": lambda n: pod(n, affinity={"podAntiAffinity": term(HOST)}),
}


def per_second(nodes: int, kind: Any) -> float:
    snapshot, placed = cluster(nodes), 0
    began = time.process_time()
    for n in range(PODS):
        asked = demand.of(kind(n))
        decision = cycle.decide(asked, snapshot)
        if decision.node:
            snapshot.place(asked, decision.node)
            placed += 1
    return PODS / (time.process_time() - began)


def preemption(nodes: int) -> float:
    """Milliseconds to find out whom to push out where every node is full."""
    snapshot = cluster(nodes)
    for n in range(nodes):
        for at in range(16):
            snapshot.place(demand.of(pod(16 * n + at, cpu="2")), f"n{n}")
    asked = demand.of(pod(-1, priority=10, cpu="4"))
    cycle.decide(demand.of(pod(-2, cpu="4")), snapshot)
    began = time.process_time()
    assert cycle.decide(asked, snapshot).outcome.victims
    return 1000 * (time.process_time() - began)


class Served:
    """An API server without controllers, and a scheduler that is not started yet."""

    def __init__(self, app: App, tasks: Tasks) -> None:
        settings = Settings(DEFAULT_NAME, Path("/nowhere"), runtime="simulated", store="memory")
        self.settings, self._app = settings, app
        self.admin = wiring.client(app, Peer("admin", ("system:masters",)), "bench")
        client = wiring.client(app, Peer("system:kube-scheduler"), "kube-scheduler")
        self.scheduler = Scheduler(client, SystemClock(), tasks, SystemIds())

    async def fill(self, nodes: int) -> None:
        """Ready nodes, as their agents would tell of them."""
        allocatable = {"cpu": "32", "memory": "128Gi", "pods": "110"}
        status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}

        async def add(n: int) -> None:
            metadata = {"name": f"n{n}", "labels": {HOST: f"n{n}", ZONE: f"z{n % 3}"}}
            await self.admin.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
            taints = {"spec": {"taints": None}, "status": status}
            await self.admin.patch(NODE, ("", f"n{n}"), taints, subresource="status")
            await self.admin.patch(NODE, ("", f"n{n}"), {"spec": {"taints": None}})

        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "default"},
        }
        await self.admin.create(SERVICEACCOUNT, account)
        await together(add, range(nodes))

    async def create(self, pods: Iterable[dict[str, Any]]) -> None:
        """As fast as some writers can."""
        await together(lambda pod: self.admin.create(POD, pod), pods)

    async def wait_bound(self, number: int) -> None:
        """Until so many pods have a node."""
        while len(self._bound()) < number:  # noqa: ASYNC110  # it is the server that is looked at
            await asyncio.sleep(0.1)

    def _bound(self) -> list[Any]:
        return [item for item in self._app.registry.all(POD, "default") if item.tree["spec"].get("nodeName")]


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    tasks = Tasks("bench")
    key = certificates.new_signing_key()
    parts = Parts(MemoryStore(), BUILTIN, SystemClock(), SystemIds(), tasks, key, "10.96.0.0/16", "bench")
    app = App(parts)
    made = Served(app, tasks)
    await app.start()
    await bootstrap.ensure(app, wiring.endpoints(made.settings))
    try:
        yield made
    finally:
        await made.scheduler.stop()
        await app.close()
        await tasks.close()


async def together(act: Callable[[Any], Awaitable[Any]], about: Iterable[Any]) -> None:
    waiting = iter(about)

    async def work() -> None:
        for each in waiting:
            await act(each)

    await asyncio.gather(*(work() for _ in range(WRITERS)))


def small(n: int, cpu: str = "100m", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    metadata = {"name": f"p{n}", "namespace": "default", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


async def through_the_server(nodes: int, pods: int) -> tuple[float, float]:
    """Pods a second of CPU time: those that wait already; and those that are written, by somebody here, meanwhile."""
    async with served() as made:
        await made.fill(nodes)
        await made.create(small(n) for n in range(pods))
        began = time.process_time()
        await made.scheduler.start()
        await made.wait_bound(pods)
        waiting = pods / (time.process_time() - began)
        began = time.process_time()
        await made.create(small(n) for n in range(pods, 2 * pods))
        await made.wait_bound(2 * pods)
        return waiting, pods / (time.process_time() - began)


async def longest_hold(nodes: int) -> float:
    """Milliseconds that the loop was held, at most, while 5 pods looked for victims on full nodes."""
    async with served() as made:
        await made.fill(nodes)
        await made.create(small(n, cpu="30") for n in range(nodes))
        await made.scheduler.start()
        await made.wait_bound(nodes)
        longest, last, is_over = 0.0, time.thread_time(), False

        async def beat() -> None:
            nonlocal longest, last
            while not is_over:
                now = time.thread_time()
                longest, last = max(longest, now - last), now
                await asyncio.sleep(0)

        beating = asyncio.ensure_future(beat())
        await made.create(small(nodes + n, cpu="20", priorityClassName="system-node-critical") for n in range(5))
        await made.wait_bound(nodes)
        await asyncio.sleep(1)
        is_over = True
        await beating
        return 1000 * longest


def through_the_api(nodes: int, pods: int) -> float:
    """Pods a second of a simulated cluster whose nodes run them, from the write to the binding."""
    with Cluster(nodes=nodes) as made:
        container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": "100m"}}}
        began = time.process_time()
        for n in range(pods):
            metadata = {"name": f"p{n}", "labels": {"app": "web"}}
            made.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})
        made.run_until(lambda: all(p["spec"].get("nodeName") for p in made.list("pod")))
        return pods / (time.process_time() - began)


def main() -> None:
    gc.freeze()  # as the control plane does
    gc.set_threshold(control_plane.GC_YOUNG_OBJECTS, 20, 100)
    for nodes in [int(each) for each in sys.argv[1:]] or [1000, 5000]:
        plain = 0.0
        for name, kind in KINDS.items():
            found = per_second(nodes, kind)
            plain = plain or found
            print(f"{nodes:>6} nodes, pods {name:<32}{found:>9.0f} a second{found / plain:>8.2f}", flush=True)
        print(f"{nodes:>6} nodes, one search for victims{'':<15}{preemption(nodes):>9.1f} ms")
        waiting, written = asyncio.run(through_the_server(nodes, PODS))
        print(f"{nodes:>6} nodes, through the server, waiting{'':<10}{waiting:>9.0f} a second{waiting / plain:>8.2f}")
        print(
            f"{nodes:>6} nodes, through the server, being written{'':<4}{written:>9.0f} a second{written / plain:>8.2f}"
        )
        print(f"{nodes:>6} nodes, longest hold{'':<25}{asyncio.run(longest_hold(nodes)):>9.1f} ms", flush=True)
    print(f"    10 nodes, through the API{'':<20}{through_the_api(10, 500):>9.0f} a second")


if __name__ == "__main__":
    main()
