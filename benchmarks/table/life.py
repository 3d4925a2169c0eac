"""Start-up, and what a cluster uses that has nothing to do: with real containers for root, else with simulated ones."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.table.client import connect
from benchmarks.table.cluster import Cluster, cluster
from benchmarks.table.rows import Figure
from sampan.cluster import doctor

REAL = ("--runtime", "oci", "--allow-vulnerable-runtime")  # nothing but the benchmark's own images runs on it
SIMULATED = ("--runtime", "simulated")
GATEWAY = "gateway"
SETTLE_SECONDS = 20
IDLE_SECONDS = 60


async def measure(short: bool) -> AsyncIterator[Figure]:
    if has_containers():
        yield start("start", REAL, 2 if short else 5)
    yield start("start-simulated", SIMULATED, 2 if short else 5)
    options = REAL if has_containers() else SIMULATED
    with cluster(*options) as made:
        note = "" if enable_gateway(made) else "without the gateway"
        await asyncio.sleep(SETTLE_SECONDS)
        yield Figure("idle-memory", made.pss_mb(), note=note or shares(made))
        seconds = IDLE_SECONDS // (3 if short else 1)
        before, began = made.cpu_seconds(), time.perf_counter()
        await asyncio.sleep(seconds)
        spent = (made.cpu_seconds() - before) / (time.perf_counter() - began)
        yield Figure("idle-cpu", 100 * spent, note=f"over {seconds} s")
        if not note:
            await make_gateway(made)
            await asyncio.sleep(SETTLE_SECONDS)
            yield Figure("idle-memory-gateway", made.pss_mb(), note=shares(made))


def has_containers() -> bool:
    """Whether real containers can run here."""
    return os.geteuid() == 0 and not doctor.missing_parts()


def start(key: str, options: tuple[str, ...], runs: int) -> Figure:
    """The whole command, as a user waits for it, each time in an empty directory."""
    seconds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="sampan-bench-") as folder:
            made = Cluster(Path(folder), *options)
            try:
                seconds.append(made.up())
            finally:
                made.down("--purge")
    return Figure(key, statistics.median(seconds), note=f"fastest of {runs} {min(seconds):.2f} s")


def enable_gateway(made: Cluster) -> bool:
    """Whether the layer with Envoy could be enabled; it has to be fetched where it is not installed."""
    command = (sys.executable, "-m", "sampan", "enable", GATEWAY, *made.where)
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0


async def make_gateway(made: Cluster) -> None:
    """Returns when Envoy runs for it."""
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    wanted = {"metadata": {"name": "one"}, "spec": {"gatewayClassName": "sampan", "listeners": [listener]}}
    api = "gateway.networking.k8s.io/v1"
    async with connect(made.keys, made.address, []) as client:
        path = f"/apis/{api}/namespaces/default/gateways"
        await client.send("POST", path, {"apiVersion": api, "kind": "Gateway", **wanted})
    while not (made.data / "gateway" / "envoy.pid").exists():  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0.1)


def shares(made: Cluster) -> str:
    """Which part each process has of the memory."""
    from benchmarks.table.cluster import pss_mb

    parts = []
    for pid in made.processes():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
        name = next((word.rpartition(".")[2] for word in words if word.startswith("sampan.")), Path(words[0]).name)
        parts.append(f"{name} {pss_mb(pid):.0f}")
    return ", ".join(parts)
