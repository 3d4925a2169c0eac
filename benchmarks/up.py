"""How long `sampan up` takes from nothing to Ready: the whole command, as a user waits for it.

    python benchmarks/up.py [RUNS]

Each run has a directory of its own and is purged. Real containers are measured when this is root and
the machine has what they need.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sampan.cluster import doctor

SAMPAN = (sys.executable, "-m", "sampan")


def once(runtime: str, folder: Path) -> float:
    """Seconds of one `sampan up` in an empty directory."""
    environment = {**os.environ, "XDG_DATA_HOME": str(folder)}
    where = ("--name", "bench", "--data-dir", str(folder / "data"))
    trusting = ("--allow-vulnerable-runtime",)  # nothing runs on it
    up = (*SAMPAN, "up", *where, "--runtime", runtime, *trusting, "--kubeconfig", str(folder / "kubeconfig"))
    began = time.perf_counter()
    try:
        subprocess.run(up, env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began
    finally:
        down = (*SAMPAN, "down", *where, "--purge")
        subprocess.run(down, env=environment, stdout=subprocess.DEVNULL, check=True)


def measure(runtime: str, runs: int) -> str:
    """The row of one runtime."""
    seconds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="sampan-bench-") as folder:
            seconds.append(once(runtime, Path(folder)))
    return f"{runtime:<10} {min(seconds):6.2f} {statistics.median(seconds):8.2f} {max(seconds):6.2f} s"


def main() -> None:
    """Prints the fastest, the middle and the slowest run of each runtime."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{'runtime':<10} {'min':>6} {'median':>8} {'max':>6}    ({runs} runs)")
    print(measure("simulated", runs), flush=True)
    if os.geteuid() == 0 and not doctor.missing_parts():
        print(measure("oci", runs))


if __name__ == "__main__":
    main()
