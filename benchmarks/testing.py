"""The cluster inside a test: how long it takes to start, to fork, to pass a day, and what it weighs.

    python benchmarks/testing.py

Each figure is the best of several, so that what else the machine does shows little.
"""

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from sampan.testing import Cluster

TIMES = 7
BESIDE = 100
CRON = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "tick"},
    "spec": {
        "schedule": "*/5 * * * *",
        "jobTemplate": {
            "spec": {
                "template": {
                    "metadata": {"annotations": {"simulated.sampan.dev/run-seconds": "10"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "tick", "image": "tick:1"}]},
                }
            }
        },
    },
}


def best(step: Callable[[], object], times: int = TIMES) -> float:
    """The shortest of several, in milliseconds."""
    found = []
    for _ in range(times):
        gc.collect()
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return min(found) * 1000


def memory() -> float:
    """The most that this process has used so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def say(what: str, value: float, unit: str) -> None:
    print(f"{what:<46}{value:>9.1f} {unit}")


FIRST = """
import time
from sampan.testing import Cluster
began = time.perf_counter()
Cluster().start()
print(time.perf_counter() - began)
"""


def first() -> float:
    """The shortest first start of several processes, in milliseconds; what they import is not part of it."""
    ran = (subprocess.run([sys.executable, "-c", FIRST], capture_output=True, check=True) for _ in range(TIMES))
    return min(float(each.stdout) for each in ran) * 1000


def main() -> None:
    say("the first start in a process", first(), "ms")
    say("a start", best(lambda: Cluster().start().close()), "ms")
    base = Cluster().start()
    say("a fork", best(lambda: base.fork(), 15), "ms")
    pods = Cluster(nodes=3).start()
    pods.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "c", "image": "web"}]},
        }
    )
    pods.wait_for("pod/web", "Ready")
    say("a fork with three nodes and a pod", best(lambda: pods.fork(), 15), "ms")
    before = memory()
    beside = [base.fork() for _ in range(BESIDE)]
    say(f"memory of each of {BESIDE} side by side", (memory() - before) / BESIDE, "MiB")
    for each in beside:
        each.close()
    say("an idle virtual day", best(lambda: base.fork().advance(days=1), 2), "ms")

    def day() -> None:
        cluster = base.fork()
        cluster.create(CRON)
        cluster.advance(days=1, minutes=1)
        done = cluster.events("cronjob/tick")
        assert sum(event["reason"] == "SawCompletedJob" for event in done) or done, "no job was seen"
        cluster.close()

    say("a virtual day of a CronJob every 5 minutes", best(day, 2), "ms")
    say("memory at the end", memory(), "MiB")


if __name__ == "__main__":
    main()
