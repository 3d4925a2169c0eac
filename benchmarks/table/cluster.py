"""A cluster of the benchmarks: started as a user would, in a directory of its own; what its processes use.

`preload` writes objects into the store of a cluster that is down, as the server would have: 100,000 objects are there
in seconds, and a restart reads them as any others.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from sampan.store.protocol import Put
from sampan.store.sqlite import SqliteStore

SAMPAN = (sys.executable, "-m", "sampan")
TICKS = os.sysconf("SC_CLK_TCK")
PRELOADED_AT_ONCE = 500


class Cluster:
    """One cluster by its directory; `options` are those of `sampan up`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._environment = {**os.environ, "XDG_DATA_HOME": str(folder)}
        self.where = ("--name", "bench", "--data-dir", str(self.data))
        self._options = options

    def up(self) -> float:
        """Starts it, or takes it up where it was; returns the seconds until the command was done."""
        command = (*SAMPAN, "up", *self.where, "--kubeconfig", str(self.folder / "kubeconfig"), *self._options)
        began = time.perf_counter()
        subprocess.run(command, env=self._environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began

    def down(self, *options: str) -> None:
        command = (*SAMPAN, "down", *self.where, *options)
        subprocess.run(command, env=self._environment, stdout=subprocess.DEVNULL, check=True)

    @property
    def address(self) -> str:
        port = orjson.loads((self.data / "cluster.json").read_bytes())["api_port"]
        return f"https://127.0.0.1:{port}"

    @property
    def keys(self) -> Path:
        return self.data / "pki"

    async def preload(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Puts records into the store, by key, while the cluster is down."""
        store, left = SqliteStore.open(self.data / "state.db"), iter(records)
        try:
            while puts := [Put(*record) for record in itertools.islice(left, PRELOADED_AT_ONCE)]:
                await store.txn((), puts)
        finally:
            await store.close()

    # What it uses

    def processes(self) -> list[int]:
        """All of its processes: those that name its directory, and their descendants."""
        parents, found = {}, set()
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
            if os.fsencode(self.data) in command:
                found.add(pid)
        return sorted(pid for pid in parents if _has_ancestor(pid, parents, found))

    def pss_mb(self) -> float:
        """Memory of all processes, each page counted once."""
        return sum(map(pss_mb, self.processes()))

    def cpu_seconds(self) -> float:
        """What all processes have computed so far, all threads, user and system."""
        return sum(map(cpu_seconds, self.processes()))


@contextmanager
def cluster(*options: str) -> Iterator[Cluster]:
    """A cluster that runs, and is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as folder:
        made = Cluster(Path(folder), *options)
        try:
            made.up()
            yield made
        finally:
            made.down("--purge")


def pss_mb(pid: int) -> float:
    """Proportional set size in MB; 0 for a process that has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads; 0 for a process that has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _has_ancestor(pid: int, parents: dict[int, int], wanted: set[int]) -> bool:
    while pid in parents:
        if pid in wanted:
            return True
        pid = parents[pid]
    return False
