"""A user of the command line: a home, a kubeconfig with another cluster's context, and a free port to start from."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
EARLIER = """apiVersion: v1
kind: Config
clusters: [{name: work, cluster: {server: "https://192.0.2.1"}}]
users: [{name: work, user: {token: none}}]
contexts: [{name: work, context: {cluster: work, user: work}}]
current-context: work
"""


@dataclass(frozen=True)
class User:
    """Runs `sampan` and `kubectl` as somebody with an own home."""

    home: Path

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def clusters(self) -> Path:
        return self.home / "share" / "sampan"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.home / "share"),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            text=True,
            capture_output=True,
            env=self.environment,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def sampan(self, line: str) -> str:
        return self.run("sampan", *line.split()).stdout

    def fails(self, line: str) -> str:
        """The one line on stderr of a command that must fail."""
        error = self.run("sampan", *line.split(), code=1).stderr
        assert error.startswith(f"sampan {line.split()[0]}: ")
        assert error.count("\n") == 1, error
        return error

    def kubectl(self, line: str) -> str:
        return self.run("kubectl", *line.split()).stdout

    def pid(self, name: str, process: str = "control-plane") -> int:
        return int((self.clusters / name / "run" / f"{process}.pid").read_text().split()[0])


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """Whose clusters are all gone in the end."""
    made = User(tmp_path)
    made.kubeconfig.write_text(EARLIER)
    yield made
    for directory in made.clusters.glob("*"):
        if directory.is_dir():
            subprocess.run(
                ["sampan", "down", "--purge", "--data-dir", str(directory)],
                env=made.environment,
                capture_output=True,
                check=False,
            )
