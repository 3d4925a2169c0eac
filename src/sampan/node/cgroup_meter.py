"""Reading what containers use from their cgroups, version 1 or 2, every ten seconds; and the node's from /proc.

https://docs.kernel.org/admin-guide/cgroup-v2.html#core-interface-files
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.kit.clock import Clock
from sampan.node.runtime import host
from sampan.node.runtime.protocol import ContainerState
from sampan.node.usage import WINDOW_SECONDS, Figures

NODE = ""
_NANO, _MICRO = 1e-9, 1e-6
_IDLE = (3, 4)


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of one time. `cpu_seconds` grows from the start on."""

    at: float
    cpu_seconds: float
    memory: int
    inactive: int


class CgroupMeter:
    """`run` reads; what was read last is told. `cgroups` names the cgroup of each running container, by id."""

    def __init__(self, clock: Clock, cgroups: Callable[[], dict[str, str]]) -> None:
        self._clock, self._cgroups = clock, cgroups
        self._last: dict[str, Reading] = {}
        self._cores: dict[str, float] = {}
        self._boot = clock.now() - _uptime()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self.read()
            await self._clock.sleep(WINDOW_SECONDS)

    def read(self) -> None:
        """Takes a reading of everything; what is gone is forgotten."""
        now = self._clock.now()
        found = {name: container(cgroup, now) for name, cgroup in self._cgroups().items()} | {NODE: _node(now)}
        readings = {name: reading for name, reading in found.items() if reading is not None}
        for name, reading in readings.items():
            before = self._last.get(name)
            if before is not None and reading.at > before.at and reading.cpu_seconds >= before.cpu_seconds:
                spent = reading.cpu_seconds - before.cpu_seconds
                self._cores[name] = spent / (reading.at - before.at)
        self._last = readings
        self._cores = {name: cores for name, cores in self._cores.items() if name in readings}

    def container(self, state: ContainerState) -> Figures | None:
        """As of the last reading; of one that started since, none."""
        return self._figures(state.id, state.started_at)

    def node(self) -> Figures | None:
        """As of the last reading."""
        return self._figures(NODE, self._boot)

    def _figures(self, name: str, start: float) -> Figures | None:
        reading = self._last.get(name)
        if reading is None:
            return None
        age = reading.at - start
        cores = self._cores.get(name)
        if cores is None:
            if age <= 0 or name == NODE:
                return None
            cores = reading.cpu_seconds / age
        working_set = max(reading.memory - reading.inactive, 0)
        return Figures(reading.at, start, cores, reading.cpu_seconds, reading.memory, working_set)


def container(cgroup: str, now: float) -> Reading | None:
    """What a cgroup (relative path) has used; None when it is gone."""
    relative = cgroup.strip("/")
    try:
        if host.is_cgroup_v2():
            path = host.CGROUPS / relative
            cpu = _numbers(path / "cpu.stat")["usage_usec"] * _MICRO
            memory = int((path / "memory.current").read_text())
            return Reading(now, cpu, memory, _numbers(path / "memory.stat").get("inactive_file", 0))
        cpu = int((host.CGROUPS / "cpuacct" / relative / "cpuacct.usage").read_text()) * _NANO
        path = host.CGROUPS / "memory" / relative
        memory = int((path / "memory.usage_in_bytes").read_text())
        return Reading(now, cpu, memory, _numbers(path / "memory.stat").get("total_inactive_file", 0))
    except (OSError, KeyError, ValueError):
        return None


def _node(now: float) -> Reading | None:
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        spent = sum(n for place, n in enumerate(ticks) if place not in _IDLE) / os.sysconf("SC_CLK_TCK")
        known = _numbers(Path("/proc/meminfo"))
        memory = (known["MemTotal:"] - known["MemFree:"]) * 1024
        return Reading(now, spent, memory, known.get("Inactive(file):", 0) * 1024)
    except (OSError, KeyError, ValueError):
        return None


def _numbers(path: Path) -> dict[str, int]:
    """A file of lines with a name and a number."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) > 1}


def _uptime() -> float:
    try:
        return float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return 0.0
