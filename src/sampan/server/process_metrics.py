"""What is counted of the process itself: memory, processor time, open files, and how late its event loop is.

https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
"""

import contextlib
import os
import resource
from collections.abc import Iterable
from pathlib import Path

from sampan.kit.clock import Clock
from sampan.server.metrics import Metrics, Sample

SECONDS_BETWEEN = 1.0
LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_PROC = Path("/proc/self")


def add(metrics: Metrics) -> None:
    """Families that are read from the system when asked. Where it does not tell, they are absent."""
    metrics.read("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", _cpu)
    metrics.read("process_resident_memory_bytes", "Resident memory size in bytes.", lambda: _memory(1))
    metrics.read("process_virtual_memory_bytes", "Virtual memory size in bytes.", lambda: _memory(0))
    metrics.read("process_open_fds", "Number of open file descriptors.", _open_files)
    metrics.read("process_max_fds", "Maximum number of open file descriptors.", _max_files)
    metrics.read("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", _start)


class LoopLag:
    """Measures once a second how much later than asked the event loop comes back."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._clock = clock
        self._seconds = metrics.histogram(
            "sampan_event_loop_lag_seconds", "How late the event loop comes back to a timer, in seconds.", LAG_SECONDS
        ).of()

    async def run(self) -> None:
        """For ever."""
        while True:
            due = self._clock.monotonic() + SECONDS_BETWEEN
            await self._clock.sleep(SECONDS_BETWEEN)
            self._seconds.observe(max(self._clock.monotonic() - due, 0.0))


def _cpu() -> Iterable[Sample]:
    times = os.times()
    yield (), times.user + times.system


def _memory(field: int) -> Iterable[Sample]:
    with contextlib.suppress(OSError, IndexError):
        yield (), int((_PROC / "statm").read_text().split()[field]) * resource.getpagesize()


def _open_files() -> Iterable[Sample]:
    with contextlib.suppress(OSError):
        yield (), len(os.listdir(_PROC / "fd"))


def _max_files() -> Iterable[Sample]:
    yield (), resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _start() -> Iterable[Sample]:
    with contextlib.suppress(OSError, IndexError, StopIteration):
        ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        booted = int(next(line for line in lines if line.startswith("btime")).split()[1])
        yield (), booted + ticks / os.sysconf("SC_CLK_TCK")
