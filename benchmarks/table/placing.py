"""A Deployment of 1,000 replicas, and the scheduler's pace through the API onto nodes that only exist as objects.

Placing is judged by its ratio to what a bare server answers of small GETs, before and after it, on the same machine.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

from benchmarks.table.client import CORE, MERGE, PODS, Client, administrator, connect, pod, spread
from benchmarks.table.cluster import cluster
from benchmarks.table.requests import sides
from benchmarks.table.rows import Figure

SILENT = ("--runtime", "simulated", "--no-node", "--node-monitor-grace-period", "10h")  # nobody speaks for the nodes
APPS = "/apis/apps/v1/namespaces/bench/deployments"
REPLICAS = 1000
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 240
FIRST = "first"


async def measure(short: bool) -> AsyncIterator[Figure]:
    with cluster(*SILENT) as made:
        async with connect(made.keys, made.address, made.processes()) as client:
            await administrator(client)
            yield await deployment(client)
    for nodes in (1000, 5000):
        with cluster(*SILENT) as made:
            async with sides(made) as (ours, other):
                await spread(ours, nodes, 16, lambda n: make_node(ours, f"n{n}"))  # noqa: B023 (used at once)
                await know_a_pod(ours, other)
                before = await pace(other)
                figure = await schedule(f"schedule-{nodes}", ours, PODS, 1000 if short else 3000)
                figure.bare = statistics.mean((before, await pace(other)))
                yield figure


async def know_a_pod(ours: Client, other: Client) -> None:
    """The bare server answers a pod as ours did."""
    await ours.send("POST", PODS, pod(FIRST, schedulerName="none"))
    await other.send("PUT", f"{PODS}/{FIRST}", await ours.send("GET", f"{PODS}/{FIRST}"))
    await ours.send("DELETE", f"{PODS}/{FIRST}?gracePeriodSeconds=0")


async def pace(other: Client) -> float:
    """GETs a second of a bare server."""
    return (await spread(other, 2000, 16, lambda n: other.send("GET", f"{PODS}/{FIRST}"))).per_second


async def deployment(client: Client) -> Figure:
    """From the request until all pods are there; nobody places them."""
    container = {"name": "main", "image": "nginx:1.27"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], "schedulerName": "none"}}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    cpu, began = client.cpu_seconds(), time.perf_counter()
    await client.send("POST", APPS, {"metadata": {"name": "web"}, "spec": spec})
    await until(client, f"{PODS}?limit=1", REPLICAS)
    seconds, spent = time.perf_counter() - began, client.cpu_seconds() - cpu
    return Figure("deployment", REPLICAS / seconds, cpu_ms=1000 * spent / REPLICAS)


async def schedule(key: str, client: Client, path: str, count: int, start: int = 0) -> Figure:
    """From the first pod's creation until all are bound."""
    cpu, began = client.cpu_seconds(), time.perf_counter()
    spec = {"schedulerName": "default-scheduler", "tolerations": [{"operator": "Exists"}]}
    await spread(client, count, 32, lambda n: client.send("POST", path, pod(f"s{start + n}", **spec)))
    await until(client, f"{path}?fieldSelector=spec.nodeName%3D", 0, is_least=False)
    seconds, spent = time.perf_counter() - began, client.cpu_seconds() - cpu
    return Figure(key, count / seconds, cpu_ms=1000 * spent / count)


async def until(client: Client, path: str, wanted: int, *, is_least: bool = True) -> None:
    """Waits until a list has at least so many objects, or no more than that."""
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < deadline:
        answer = await client.get(path)
        found = len(answer["items"]) + answer["metadata"].get("remainingItemCount", 0)
        if found >= wanted if is_least else found <= wanted:
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise RuntimeError(f"{path}: {found} objects after {PATIENCE_SECONDS} s, {wanted} were expected")


async def make_node(client: Client, name: str) -> None:
    """A Ready node, as its agent would tell of it."""
    await client.send("POST", f"{CORE}/nodes", node(name))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    heard = {"reason": "KubeletReady", "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now}
    room = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    status = {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True", **heard}]}
    await client.send("PATCH", f"{CORE}/nodes/{name}/status", {"status": status}, MERGE)


def node(name: str) -> dict[str, object]:
    zone = sum(name.encode()) % 3
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"z{zone}"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
