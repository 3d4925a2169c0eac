"""A real etcd for a test: a process of its own with an empty data directory."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

FLAGS = (
    "--heartbeat-interval=10", "--election-timeout=60", "--max-txn-ops=10000", "--max-request-bytes=67108864",
    "--log-level=error", "--logger=zap",
)  # fmt: skip


def program() -> str:
    """$SAMPAN_TEST_ETCD, the system's etcd, or the one of the development environment. Skips the test without any."""
    found = os.environ.get("SAMPAN_TEST_ETCD") or shutil.which("etcd")
    found = found or shutil.which("etcd", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("there is no etcd here")
    return found


class Etcd:
    """One member that is a cluster by itself."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self._directory = directory
        self._flags = (*FLAGS, *flags)
        self._client, self._peer = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self._client}"

    def start(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._client, self._peer))
        arguments = [
            program(), f"--data-dir={self._directory}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", *self._flags,
        ]  # fmt: skip
        environment = {"ETCD_UNSUPPORTED_ARCH": "arm64", "PATH": os.environ.get("PATH", "")}
        self._process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
