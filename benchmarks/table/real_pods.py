"""Real pods: one at a time, then many at once, seen Running by a watch. Needs root."""

import asyncio
import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from benchmarks.table.client import PODS, Client, administrator, connect
from benchmarks.table.cluster import SAMPAN, Cluster, cluster
from benchmarks.table.life import REAL, has_containers
from benchmarks.table.rows import Figure

IMAGE = "bench:1"
SINGLE = 10
NODES = 5
PATIENCE_SECONDS = 180


async def measure(short: bool) -> AsyncIterator[Figure]:
    if not has_containers():
        return
    with cluster(*REAL) as made:
        async with ready(made) as (client, running):
            late = [await burst(client, running, [f"one-{n}"]) for n in range(SINGLE)]
            yield Figure("pod", 1000 * statistics.median(late), note=f"slowest of {SINGLE} {1000 * max(late):.0f} ms")
            count = 30 if short else 100 - SINGLE
            began = made.cpu_seconds()
            seconds = await burst(client, running, [f"many-{n}" for n in range(count)])
            spent = 1000 * (made.cpu_seconds() - began) / count
            yield Figure(
                "pods-100", count / seconds, cpu_ms=spent, pss_mb=made.pss_mb(), note=f"{count} in {seconds:.1f} s"
            )
    if short:
        return
    with cluster(*REAL, "--nodes", str(NODES)) as made:
        async with ready(made) as (client, running):
            seconds = await burst(client, running, [f"many-{n}" for n in range(500)])
            yield Figure("pods-500", seconds, pss_mb=made.pss_mb(), note=f"on {NODES} nodes of this machine")


@contextlib.asynccontextmanager
async def ready(made: Cluster) -> AsyncIterator[tuple[Client, "Running"]]:
    """A cluster that has the image, and who runs in it."""
    add_image(made)
    async with connect(made.keys, made.address, made.processes()) as client:
        await administrator(client)
        running = Running()
        watching = asyncio.ensure_future(running.follow(client))
        try:
            yield client, running
        finally:
            watching.cancel()


def add_image(made: Cluster) -> None:
    """An image of the static busybox alone."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy2(shutil.which("busybox") or "/bin/busybox", Path(folder) / "busybox")
        command = (*SAMPAN, "image", *made.where, "import", folder, "--tag", IMAGE, "--cmd", "/busybox")
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


class Running:
    """The names of the pods that a watch has shown Running."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._come = asyncio.Event()

    async def follow(self, client: Client) -> None:
        url = f"{client.address}{PODS}?watch=true&resourceVersion=0"
        async with client.session.get(url, read_bufsize=1 << 22) as answer:
            async for line in answer.content:
                shown = orjson.loads(line)["object"]
                if shown.get("status", {}).get("phase") == "Running":
                    self._names.add(shown["metadata"]["name"])
                    self._come.set()

    async def wait(self, names: list[str]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._names.issuperset(names):
                self._come.clear()
                await self._come.wait()


async def burst(client: Client, running: Running, names: list[str]) -> float:
    """Creates pods at once; the seconds until all run."""
    began = time.perf_counter()
    await asyncio.gather(*(client.send("POST", PODS, real_pod(name)) for name in names))
    await running.wait(names)
    return time.perf_counter() - began


def real_pod(name: str) -> dict[str, object]:
    resources = {"requests": {"cpu": "1m", "memory": "1Mi"}}
    container = {"name": "main", "image": IMAGE, "command": ["/busybox", "sleep", "100000"], "resources": resources}
    spec = {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
