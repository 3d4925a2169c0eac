"""kubectl with a simulated cluster behind a bridge."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.conftest import BIN
from tests.testing.bridged import bridged

Kubectl = Callable[..., str]


@contextmanager
def simulated(home: Path, nodes: int) -> Iterator[Kubectl]:
    """Runs kubectl, with `home` as its home; what it says, once it has ended with `code`."""
    with bridged(home, nodes=nodes) as cluster:
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home)}

        def run(*words: str, stdin: str = "", code: int = 0) -> str:
            command = (str(BIN / "kubectl"), *words)
            done = subprocess.run(
                command, input=stdin, text=True, capture_output=True, env=environment, timeout=60, check=False
            )
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr

        yield run
