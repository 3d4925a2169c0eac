"""A cluster without root: its sandbox is there before anything else of it, and ends after everything else."""

import contextlib
import os
import signal
import subprocess
import sys
from time import monotonic

from sampan.cluster import processes, sandbox
from sampan.cluster.processes import Process
from sampan.cluster.settings import Settings
from sampan.kit import wall

SECONDS = 10.0


class SandboxError(Exception):
    """It can't be had: why, and what to do."""


def process(cluster: Settings) -> Process:
    return Process("sandbox", cluster.path("run", "sandbox.pid"), cluster.path("logs", "sandbox.log"))


def ensure(cluster: Settings) -> None:
    """The sandbox is there. What is left of one that has ended goes, as all goes when a machine is switched off. SandboxError."""
    folder = cluster.path("run")
    if sandbox.holder(folder):
        return
    _end(sandbox.inside(folder))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / sandbox.RECORD).unlink(missing_ok=True)
    made = process(cluster)
    processes.start(made, [sys.executable, "-m", "sampan.cluster.sandbox_process", str(folder)])
    deadline = monotonic() + SECONDS
    while not sandbox.holder(folder):
        if not made.pid:
            raise SandboxError(f"no sandbox for containers without root: {processes.tail(made.log, 1).strip()}")
        if monotonic() > deadline:
            raise SandboxError(f"the sandbox for containers without root did not come; see {made.log}")
        wall.pause(processes.POLL_SECONDS)


def stop(cluster: Settings) -> None:
    """The sandbox ends, and whatever is still in it."""
    folder = cluster.path("run")
    inside = sandbox.inside(folder)
    processes.stop(process(cluster), SECONDS)
    _end(inside)


def remove(path: str) -> None:
    """Deletes a folder of files that belong to the sandbox' users."""
    subprocess.run([sys.executable, "-m", "sampan.cluster.sandbox_process", "--run", "rm", "-rf", path], check=False)


def _end(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        processes.wait_gone(pid, SECONDS)
