"""A real etcd for a test: processes of its own with empty data directories."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.ports import free_port

FLAGS = (
    "--heartbeat-interval=10", "--election-timeout=60", "--max-txn-ops=10000", "--max-request-bytes=67108864",
    "--log-level=error", "--logger=zap",
)  # fmt: skip
PATIENT = ("--heartbeat-interval=50", "--election-timeout=500")
"""For several members on a machine that may be slow."""


def program() -> str:
    """$SAMPAN_TEST_ETCD, the system's etcd, or the one of the development environment. Skips the test without any."""
    found = os.environ.get("SAMPAN_TEST_ETCD") or shutil.which("etcd")
    found = found or shutil.which("etcd", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("there is no etcd here")
    return found


class Etcd:
    """One member; by itself, or of several that `members` makes."""

    def __init__(self, directory: Path, *flags: str, name: str = "default", scheme: str = "http") -> None:
        self.name = name
        self._directory = directory
        self._flags = (*FLAGS, *flags)
        self._scheme = scheme
        self.port, self._peer = free_ports(2)
        self.cluster = f"{name}=http://127.0.0.1:{self._peer}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"{self._scheme}://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peer}"
        arguments = [
            program(), f"--name={self.name}", f"--data-dir={self._directory}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self.cluster}", *self._flags,
        ]  # fmt: skip
        environment = {"ETCD_UNSUPPORTED_ARCH": "arm64", "PATH": os.environ.get("PATH", "")}
        self._process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )

    def wait_listening(self) -> None:
        """For who is not to find nobody there."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise AssertionError("etcd does not come up")

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It answers nothing, and nobody is told."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def is_leader(self) -> bool:
        """What it says of itself; False while it can't be asked."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
                return b"\netcd_server_is_leader 1" in answer.read()
        except OSError:
            return False


class Members:
    """Several members that are one etcd."""

    def __init__(self, directory: Path, count: int = 3, *flags: str) -> None:
        self.all = [Etcd(directory / f"m{n}", *PATIENT, *flags, name=f"m{n}") for n in range(count)]
        together = ",".join(member.cluster for member in self.all)
        for member in self.all:
            member.cluster = together

    @property
    def url(self) -> str:
        return urls(self.all)

    def start(self) -> None:
        for member in self.all:
            member.start()

    def stop(self) -> None:
        for member in self.all:
            member.stop()

    def leader(self) -> Etcd | None:
        return next((member for member in self.all if member.is_leader()), None)


def urls(members: Sequence[Etcd]) -> str:
    return "etcd://" + ",".join(f"127.0.0.1:{member.port}" for member in members)


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]
