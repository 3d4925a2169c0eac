"""A soak: hours of churn on a simulated cluster, and whether memory, files, threads and descriptors stay flat.

    scripts/soak [SECONDS] [--rate R] [--every S]      # default: an hour
    scripts/soak --store [SCENARIO]...                 # the store killed at every system call, as tests/store/fire.py has it

Pods come and go with Deployments, Leases are renewed, Events and ConfigMaps are made and deleted, watchers read, and some
never do. Each minute's Events are deleted, in the place of the hour after which they would expire. The first part of
the time is left out of the fit: windows of recent changes fill up first. A row is flat when the line through the
rest rises by less than a twentieth of its mean (or a little, for what is small) in that time.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import load
from sampan.client.transport import TransportError
from sampan.cluster import host, processes, settings
from sampan.cluster.settings import Settings
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.pod import POD
from sampan.meta.status import ApiError
from sampan.web.message import Request

NAMESPACE = "default"
WARM_UP = 0.4
SLACK = {"PSS": 4.0, "files": 16.0, "threads": 2.0, "MiB": 8.0, "logs": 1.0}
FLAT = 0.05


@dataclass
class Samples:
    """By what is measured: (seconds, value) pairs."""

    rows: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def take(self, at: float, cluster: Settings) -> None:
        for process in host.all_processes(cluster):
            pid = process.pid
            self._add(f"{process.name} PSS MiB", at, processes.proportional_kib(pid) / 1024)
            self._add(f"{process.name} files", at, len(os.listdir(f"/proc/{pid}/fd")))
            self._add(f"{process.name} threads", at, len(os.listdir(f"/proc/{pid}/task")))
        self._add("state.db MiB", at, _size(cluster.path("state.db")))
        self._add("state.db-wal MiB", at, _size(cluster.path("state.db-wal")))
        self._add("logs MiB", at, sum(map(_size, cluster.path("logs").iterdir())))

    def _add(self, name: str, at: float, value: float) -> None:
        self.rows.setdefault(name, []).append((at, value))

    def report(self) -> bool:
        """Prints a table; whether all is flat."""
        print(f"{'':<32}{'first':>9}{'warm':>9}{'last':>9}{'max':>9}{'rise/h':>9}  flat")
        verdicts = []
        for name, points in self.rows.items():
            settled = points[int(len(points) * WARM_UP) :]
            slope, mean = fit(settled)
            rise = slope * (settled[-1][0] - settled[0][0])
            slack = next(value for word, value in SLACK.items() if word in name)
            verdicts.append(rise < max(FLAT * mean, slack))
            values = (points[0][1], settled[0][1], points[-1][1], max(value for _, value in points), slope * 3600)
            print(f"{name:<32}" + "".join(f"{value:9.1f}" for value in values) + f"  {'yes' if verdicts[-1] else 'NO'}")
        return all(verdicts)


def fit(points: list[tuple[float, float]]) -> tuple[float, float]:
    """The slope of the least squares' line, per second, and the mean."""
    count = len(points)
    middle = sum(at for at, _ in points) / count
    mean = sum(value for _, value in points) / count
    spread = sum((at - middle) ** 2 for at, _ in points)
    return (sum((at - middle) * (value - mean) for at, value in points) / spread if spread else 0.0), mean


class Churn:
    """What goes on all the time, at `rate` steps a second for each kind of work."""

    def __init__(self, client: Client, transport: HttpTransport, rate: float) -> None:
        self._client, self._transport, self._rate = client, transport, rate
        self._random = random.Random(1)
        self.done: dict[str, int] = {}
        self.refused = 0
        self.seen = 0

    def work(self) -> list[Awaitable[None]]:
        steps: dict[str, Callable[[int], Awaitable[Any]]] = {
            "deployments": self._deployment, "leases": self._lease, "events": self._event, "configmaps": self._config_map,
        }  # fmt: skip
        paces = {"deployments": 0.05, "leases": 4.0, "events": 1.0, "configmaps": 0.5}
        made = [self._repeat(name, step, paces[name] * self._rate) for name, step in steps.items()]
        return [*made, self._sweep(), *(self._watch() for _ in range(5)), *(self._never_reads() for _ in range(3))]

    async def _repeat(self, name: str, step: Callable[[int], Awaitable[Any]], rate: float) -> None:
        for number in itertools.count():
            try:
                await step(number)
                self.done[name] = self.done.get(name, 0) + 1
            except (ApiError, TransportError):
                self.refused += 1
            await asyncio.sleep(1 / rate)

    async def _deployment(self, number: int) -> None:
        name = f"web-{number % 5}"
        count = self._random.randrange(2, 10)
        template = {
            "metadata": {"labels": {"app": name}, "annotations": {"round": str(number // 10)}},
            "spec": {"containers": [{"name": "web", "image": "web"}]},
        }
        spec = {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": template}
        made = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        }
        if number < 5:
            await self._client.create(DEPLOYMENT, made)
        else:
            await self._client.patch(DEPLOYMENT, (NAMESPACE, name), {"spec": {"replicas": count, "template": template}})

    async def _lease(self, number: int) -> None:
        name = f"holder-{number % 20}"
        spec = {"holderIdentity": f"{number}", "leaseDurationSeconds": 15}
        if number < 20:
            metadata = {"name": name, "namespace": NAMESPACE}
            made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._client.create(LEASE, made)
        else:
            await self._client.patch(LEASE, (NAMESPACE, name), {"spec": spec})

    async def _event(self, number: int) -> None:
        involved = {"kind": "Pod", "namespace": NAMESPACE, "name": f"p-{number}", "apiVersion": "v1"}
        await self._client.create(EVENT, {
            "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "soak-", "namespace": NAMESPACE},
            "involvedObject": involved, "reason": "Soaked", "message": f"time {number}", "type": "Normal",
        })  # fmt: skip

    async def _config_map(self, number: int) -> None:
        metadata = {"name": f"data-{number % 10}", "namespace": NAMESPACE}
        with contextlib.suppress(ApiError):
            await self._client.delete(CONFIGMAP, (NAMESPACE, metadata["name"]))
        data = {"data": str(number) * 4000}
        await self._client.create(
            CONFIGMAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(60)
            with contextlib.suppress(ApiError, TransportError):
                await self._client.delete_collection(EVENT, NAMESPACE)

    async def _watch(self) -> None:
        while True:
            try:
                listing = await self._client.list(POD, NAMESPACE)
                async for _ in self._client.watch(POD, NAMESPACE, resource_version=listing.resource_version):
                    self.seen += 1
            except (ApiError, TransportError):
                self.refused += 1
                await asyncio.sleep(1)

    async def _never_reads(self) -> None:
        """Asks for a watch, takes nothing of it for ten minutes, and asks again."""
        while True:
            with contextlib.suppress(ApiError, TransportError):
                path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
                response = await self._transport.request(Request("GET", path, (("watch", "true"),)))
                await asyncio.sleep(600)
                close = getattr(response.body, "aclose", None)
                if close is not None:
                    await close()


def _size(path: Path) -> float:
    try:
        return path.stat().st_size / (1 << 20)
    except FileNotFoundError:
        return 0.0


async def soak(cluster: Settings, options: argparse.Namespace) -> bool:
    samples, began = Samples(), time.monotonic()
    transport = HttpTransport(load(cluster.path("kubeconfig")))
    churn = Churn(Client(transport, "soak"), transport, options.rate)
    tasks = [asyncio.ensure_future(work) for work in churn.work()]
    try:
        while (passed := time.monotonic() - began) < options.seconds:
            samples.take(passed, cluster)
            broken = [task for task in tasks if task.done()]
            for task in broken:
                task.result()
            await asyncio.sleep(min(options.every, options.seconds / 10))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await transport.close()
    done = ", ".join(f"{count} {name}" for name, count in churn.done.items())
    print(f"{passed:.0f} s: {done}; {churn.seen} changes of pods seen by watchers, {churn.refused} requests refused")
    return samples.report()


def _sampan(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "sampan", *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("seconds", nargs="?", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=5.0, help="how much goes on (default: %(default)s)")
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="seconds between samples")
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sampan-soak-") as place:
        os.environ |= {"XDG_DATA_HOME": place, "KUBECONFIG": f"{place}/kubeconfig"}
        named = ("--name", "soak")
        _sampan("up", *named, "--runtime", "simulated", "--nodes", str(options.nodes), "--api-port", str(_free_port()))
        try:
            cluster = settings.load(settings.home() / "soak")
            assert cluster is not None  # it was made just now
            return 0 if asyncio.run(soak(cluster, options)) else 1
        finally:
            _sampan("down", *named, "--purge")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
