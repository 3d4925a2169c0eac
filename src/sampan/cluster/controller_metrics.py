"""What is counted of the controllers that run in the server's process: their queues.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections.abc import Callable, Iterable

from sampan.control.runner import Runner
from sampan.control.worker import Worker
from sampan.server.metrics import Metrics, Sample


def add(metrics: Metrics, runner: Runner) -> None:
    """Depth, additions and retries of each controller's queue, by the controller's name."""

    def read(value: Callable[[Worker], float]) -> Callable[[], Iterable[Sample]]:
        return lambda: [((worker.name,), value(worker)) for worker in runner.workers]

    label = ("name",)
    metrics.read("workqueue_depth", "Current depth of workqueue", read(lambda w: len(w.queue)), label)
    help = "Total number of adds handled by workqueue"
    metrics.read("workqueue_adds_total", help, read(lambda w: w.queue.adds), label)
    help = "Total number of retries handled by workqueue"
    metrics.read("workqueue_retries_total", help, read(lambda w: w.queue.retries), label)
