"""A soak: hours of churn on a simulated cluster, and whether memory, files, threads and descriptors stay flat.

    scripts/soak [SECONDS] [--rate R] [--every S]      # default: an hour
    scripts/soak --store [--states N] [SCENARIO]...    # the store killed, its power lost at every call: tests/store/replay.py
    scripts/soak --server [--lives N] [--seed S]       # a whole control plane under fire: tests/cluster/server_fire.py

Pods come and go with Deployments, namespaces with all they hold, Leases are renewed, Events and ConfigMaps are made and
deleted, watchers read, and some never do. Each minute's Events are deleted, in the place of the hour after which they would
expire. The first quarter of the time is not judged: windows of recent changes, and of events told, fill up first, for up to 15
minutes. A row is flat when the median of its last quarter is no more than a twentieth (or a little, for what is small) above
that of its second. What it rose meanwhile is shown as so much in an hour; of memory, after most of an hour, that may be no
more than a twentieth either. Ctrl-C ends it sooner, with the same table.

Memory is judged by what a process has written and shares with nobody ("private"). PSS is shown beside it and not judged: it
has a share of programs and libraries in it, which grows when others end that use the same ones. What only this process has
mapped grows by even more then. Memory and database also follow how much goes on: so that is kept even, and is shown.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import statistics
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
from sampan.cluster import host, settings
from sampan.cluster.settings import Settings
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.namespace import NAMESPACE as NAMESPACES
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.meta.status import ApiError
from sampan.web.message import Request

NAMESPACE = "default"
LINES = 24
"""So often it tells how it goes."""
FLAT = 0.05
SLACK = {"files": 6.0, "threads": 2.0, "MiB": 2.0, "series": 10.0}
PRIVATE, SHARES, PACE = " private MiB", " PSS MiB", "steps a second"
SHOWN = (SHARES, PACE)
"""What is not judged."""
LATE_SECONDS = 5.0
"""What was missed for longer, while the machine was busy, is not made up for."""
HOURLY_SECONDS = 3000.0
"""A run of so long tells what memory rises in an hour."""


Sample = tuple[float, float]


@dataclass
class Samples:
    """By what is measured: moments, in seconds since it began, and values."""

    rows: dict[str, list[Sample]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _done: tuple[float, int] = (0.0, 0)

    def take(self, cluster: Settings, series: int, done: int) -> None:
        """`series` is how many the control plane's metrics have, `done` how many steps were made so far."""
        for process in host.all_processes(cluster):
            for row, value in of_process(process.pid).items():
                self._add(process.name + row, value)
        self._add("state.db MiB", _size(cluster.path("state.db")))
        self._add("state.db-wal MiB", _size(cluster.path("state.db-wal")))
        self._add("logs MiB", sum(map(_size, cluster.path("logs").iterdir())))
        self._add("metrics series", series)
        passed = time.monotonic() - self.began
        self._add(PACE, (done - self._done[1]) / max(passed - self._done[0], 1e-3))
        self._done = passed, done

    def _add(self, name: str, value: float) -> None:
        self.rows.setdefault(name, []).append((time.monotonic() - self.began, value))

    def progress(self) -> str:
        """The latest of each process' memory, in a line."""
        when, told = 0.0, []
        for name in (name for name in self.rows if name.endswith(PRIVATE)):
            process = name.removesuffix(PRIVATE)
            when, private = self.rows[name][-1]
            told.append(f"{process} {private:.1f} ({self.rows[process + SHARES][-1][1]:.1f})")
        return f"{when:5.0f} s  private MiB (PSS): {', '.join(told)}"

    def report(self) -> bool:
        """Prints a table; whether all is flat."""
        print(f"{'':<32}{'start':>9}{'middle':>9}{'end':>9}{'max':>9}{'2nd 1/4':>9}{'last 1/4':>9}{'in 1 h':>9}  flat")
        for name, samples in self.rows.items():
            second, last = quarters(samples)
            values = [value for _, value in samples]
            middle = next(value for when, value in samples if when >= samples[-1][0] / 2)
            shown = "".join(f"{value:9.1f}" for value in (values[0], middle, values[-1], max(values), second, last))
            said = "-" if name.endswith(SHOWN) else "yes" if is_flat(name, samples) else "NO"
            print(f"{name:<32}{shown}{in_an_hour(samples):+9.1f}  {said}")
        return all(is_flat(name, samples) for name, samples in self.rows.items() if not name.endswith(SHOWN))


def of_process(pid: int) -> dict[str, float]:
    """By the rest of the row's name; nothing of one that ends meanwhile."""
    try:
        private, shares = memory(Path(f"/proc/{pid}/smaps_rollup").read_text())
        files, threads = (len(os.listdir(f"/proc/{pid}/{kind}")) for kind in ("fd", "task"))
    except (OSError, KeyError):
        return {}
    return {PRIVATE: private, SHARES: shares, " files": files, " threads": threads}


def memory(text: str) -> tuple[float, float]:
    """What a process has written and shares with nobody, and its proportional share (PSS), in MiB, by its smaps_rollup."""
    found = {words[0]: int(words[1]) / 1024 for line in text.splitlines()[1:] if (words := line.split())}
    return found["Private_Dirty:"], found["Pss:"]


def in_an_hour(samples: list[Sample]) -> float:
    """What it rose from the second quarter to the last, which are half the time apart."""
    second, last = quarters(samples)
    return (last - second) * 3600 / (samples[-1][0] / 2)


def quarters(samples: list[Sample]) -> tuple[float, float]:
    """The medians of the second quarter of the time and of the last, however seldom it was looked meanwhile."""
    end = samples[-1][0]
    warm = [(when, value) for when, value in samples if when >= end / 4]
    second = [value for when, value in warm if when < end / 2] or [warm[0][1]]
    return statistics.median(second), statistics.median(value for when, value in warm if when >= end * 3 / 4)


def is_flat(name: str, samples: list[Sample]) -> bool:
    """Whether the row has not risen since it was warm."""
    second, last = quarters(samples)
    slack = next(value for word, value in SLACK.items() if word in name)
    allowed = max(FLAT * second, slack)
    if name.endswith(PRIVATE) and samples[-1][0] >= HOURLY_SECONDS and in_an_hour(samples) > allowed:
        return False
    return last <= second + allowed


class Churn:
    """What goes on all the time, evenly: at `rate` steps a second for each kind of work, in the measure of its pace."""

    def __init__(self, client: Client, transport: HttpTransport, rate: float) -> None:
        self._client, self._transport, self._rate = client, transport, rate
        self._random = random.Random(1)
        self.done: dict[str, int] = {}
        self.refused = 0
        self.seen = 0

    def work(self) -> list[Awaitable[None]]:
        steps: dict[str, Callable[[int], Awaitable[Any]]] = {
            "deployments": self._deployment, "leases": self._lease, "events": self._event, "configmaps": self._config_map,
            "namespaces": self._namespace,
        }  # fmt: skip
        paces = {"deployments": 0.05, "leases": 4.0, "events": 1.0, "configmaps": 0.5, "namespaces": 0.01}
        made = [self._repeat(name, step, paces[name] * self._rate) for name, step in steps.items()]
        return [*made, self._sweep(), *(self._watch() for _ in range(5)), *(self._never_reads() for _ in range(3))]

    async def _repeat(self, name: str, step: Callable[[int], Awaitable[Any]], rate: float) -> None:
        due = time.monotonic()
        for number in itertools.count():
            try:
                await step(number)
                self.done[name] = self.done.get(name, 0) + 1
            except (ApiError, TransportError):
                self.refused += 1
            due, wait = after(due, time.monotonic(), rate)
            await asyncio.sleep(wait)

    async def _deployment(self, number: int) -> None:
        name = f"web-{number % 5}"
        made = _deployed(name, NAMESPACE, self._random.randrange(2, 10), str(number // 10))
        if number < 5:
            await self._client.create(DEPLOYMENT, made)
        else:
            changed = {field: made["spec"][field] for field in ("replicas", "template")}
            await self._client.patch(DEPLOYMENT, (NAMESPACE, name), {"spec": changed})

    async def _namespace(self, number: int) -> None:
        """One more, with something that works in it; the one before goes."""
        if number:
            await self._client.delete(NAMESPACES, ("", f"soak-{number - 1}"))
        name = f"soak-{number}"
        await self._client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await self._client.create(DEPLOYMENT, _deployed(f"web-{number}", name, 2, ""))
        ports = [{"port": 80}]
        spec = {"selector": {"app": f"web-{number}"}, "ports": ports}
        metadata = {"name": f"web-{number}", "namespace": name}
        await self._client.create(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

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
        data = {"data": f"{number:08}" * 2000}
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


def after(due: float, now: float, rate: float) -> tuple[float, float]:
    """When the step after that of `due` is due, and how long to wait for it: none while it is late."""
    due = max(due + 1 / rate, now - LATE_SECONDS)
    return due, max(due - now, 0.0)


def _deployed(name: str, namespace: str, count: int, round_: str) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}, "annotations": {"round": round_}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }
    spec = {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": template}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _size(path: Path) -> float:
    try:
        return path.stat().st_size / (1 << 20)
    except FileNotFoundError:
        return 0.0


async def soak(cluster: Settings, options: argparse.Namespace) -> bool:
    samples, began, told = Samples(), time.monotonic(), 0
    transport = HttpTransport(load(cluster.path("kubeconfig")))
    churn = Churn(Client(transport, "soak"), transport, options.rate)
    tasks = [asyncio.ensure_future(work) for work in churn.work()]
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, enough.set)
    try:
        while (passed := time.monotonic() - began) < options.seconds and not enough.is_set():
            samples.take(cluster, await _series(transport), sum(churn.done.values()))
            if passed >= told * options.seconds / LINES:
                print(samples.progress(), flush=True)
                told += 1
            broken = [task for task in tasks if task.done()]
            for task in broken:
                task.result()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), min(options.every, options.seconds / 10))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await transport.close()
    done = ", ".join(f"{count} {name}" for name, count in churn.done.items())
    print(f"{passed:.0f} s: {done}; {churn.seen} changes of pods seen by watchers, {churn.refused} requests refused")
    return samples.report()


async def _series(transport: HttpTransport) -> int:
    answer = (await transport.request(Request("GET", "/metrics"))).body
    assert isinstance(answer, bytes)
    return sum(not line.startswith(b"#") for line in answer.splitlines())


def _sampan(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "sampan", *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("seconds", nargs="?", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=5.0, help="how much goes on (default: %(default)s)")
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="seconds between samples")
    parser.add_argument("--name", default="soak", help="the cluster's (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sampan-soak-") as place:
        os.environ |= {"XDG_DATA_HOME": place, "KUBECONFIG": f"{place}/kubeconfig"}
        named = ("--name", options.name)
        try:
            _sampan(
                "up", *named, "--runtime", "simulated", "--nodes", str(options.nodes), "--api-port", str(_free_port())
            )
            cluster = settings.load(settings.home() / options.name)
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
