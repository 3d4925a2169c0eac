"""A containerd of the tests' own: its root, state, socket, plugins and network configuration are below one directory."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLIENTS = Path(sys.executable).parent.parent / "clients"  # in CI it is unpacked there and not installed
_SECONDS = 60.0
_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [{disabled}]
[timeouts]  # a shim of a busy machine may not answer within 2 s: containerd would then take a sandbox's process to be number 0
  "io.containerd.timeout.task.state" = "60s"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/net.d"
"""


@dataclass
class Containerd:
    """One that runs. `endpoint` is what `sampan up --runtime` takes."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> str:
        return str(self.folder / "containerd.sock")

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    def restart(self) -> None:
        """Containers go on meanwhile."""
        self.kill()
        self.process = _started(self.folder)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ctr(self, *arguments: str) -> list[str]:
        """What `ctr` says of Kubernetes' namespace."""
        command = (_program("ctr"), "--address", self.socket, "--namespace", "k8s.io", *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    def leftovers(self) -> list[str]:
        """Shims of it, and mounts, those of network namespaces among them."""
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.folder) in line]
        found = [f"mount {line.split()[4]}" for line in mounts]
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                command = (
                    Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace") if entry.isdecimal() else ""
                )
                if "containerd-shim" in command and self.socket in command:
                    found.append(command.replace("\0", " "))
        return found


@contextlib.contextmanager
def running(*, disabled: str = "") -> Iterator[Containerd]:
    """One from here to there; nothing of it may be left."""
    folder = Path(tempfile.mkdtemp(prefix="sampan-containerd-"))
    for name in ("bin", "net.d"):
        (folder / name).mkdir()
    quoted = f'"{disabled}"' if disabled else ""
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder, disabled=quoted))
    found = Containerd(folder, _started(folder))
    try:
        yield found
        left = found.leftovers()
        assert left == []
    finally:
        found.process.terminate()
        found.process.wait()
        shutil.rmtree(folder)


def _program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:{CLIENTS}") or name


def _started(folder: Path) -> subprocess.Popen[bytes]:
    path = f"{CLIENTS}:{os.environ['PATH']}:/usr/sbin:/sbin"
    with (folder / "log").open("ab") as log:
        command = (_program("containerd"), "--config", str(folder / "config.toml"))
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PATH": path}, start_new_session=True
        )
    deadline = time.monotonic() + _SECONDS
    while "successfully booted" not in (folder / "log").read_text().rpartition("starting containerd")[2]:
        assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
        time.sleep(0.02)
    return process
