"""The cluster inside a test: how long it takes to start, to fork, to pass a day, and what it weighs.

    python -m benchmarks.testing [--json]

Each figure is the best of several, so that what else the machine does shows little. `scripts/bench inside` shows them beside
a bare server, which tells how fast the machine is.
"""

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from sampan.testing import Cluster

TIMES = 7
BESIDE = 100
JOBS = 288
"""So many a CronJob of five minutes makes in a day."""
FIRST_START, START, FORK = "the first start in a process", "a start", "a fork"
DAY = "a virtual day of a CronJob every 5 minutes"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "c", "image": "web"}]},
}
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


def say(what: str, value: float) -> None:
    print(f"{what:<46}{value:>9.1f} {'MiB' if what.startswith('memory') else 'ms'}", flush=True)


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


def figures() -> Iterator[tuple[str, float]]:
    """Each as soon as it is known: times in milliseconds, memory in MiB."""
    yield FIRST_START, first()
    yield START, best(lambda: Cluster().start().close())
    base = Cluster().start()
    yield FORK, best(lambda: base.fork(), 15)
    pods = Cluster(nodes=3).start()
    pods.create(POD)
    pods.wait_for("pod/web", "Ready")
    yield "a fork with three nodes and a pod", best(lambda: pods.fork(), 15)
    before = memory()
    beside = [base.fork() for _ in range(BESIDE)]
    yield f"memory of each of {BESIDE} side by side", (memory() - before) / BESIDE
    for each in beside:
        each.close()
    yield "an idle virtual day", best(lambda: base.fork().advance(days=1), 2)
    yield DAY, best(lambda: a_day(base), 2)
    yield "memory at the end", memory()


def a_day(base: Cluster) -> None:
    """Of a CronJob every five minutes; a minute more, so that the last job is seen to end."""
    cluster = base.fork()
    cluster.create(CRON)
    cluster.advance(days=1, minutes=1)
    made = {change.key for change in cluster.history() if change.resource == "jobs.batch"}
    assert len(made) == JOBS, f"{len(made)} jobs were made"
    last = cluster.get("cronjob/tick")["status"]
    assert last["lastSuccessfulTime"] > last["lastScheduleTime"], "the last job was not seen to end"
    cluster.close()


def main() -> None:
    if "--json" in sys.argv:
        print(json.dumps(dict(figures())))
        return
    for what, value in figures():
        say(what, value)


if __name__ == "__main__":
    main()
