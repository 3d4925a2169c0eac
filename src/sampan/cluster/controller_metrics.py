"""What is counted of the controllers that run in the server's process: their queues.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections.abc import Callable, Iterable, Sequence

from sampan.control.worker import Worker
from sampan.server.metrics import Metrics, Sample

SECONDS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def add(metrics: Metrics, workers: Callable[[], Sequence[Worker]]) -> Callable[[Worker], None]:
    """Depth, additions, retries and times of each controller's queue, by the controller's name.

    Returns what must be told of each worker before it works.
    """

    def read(value: Callable[[Worker], float]) -> Callable[[], Iterable[Sample]]:
        return lambda: [((worker.name,), value(worker)) for worker in workers()]

    label = ("name",)
    metrics.read("workqueue_depth", "Current depth of workqueue", read(lambda w: len(w.queue)), label)
    help = "Total number of adds handled by workqueue"
    metrics.read("workqueue_adds_total", help, read(lambda w: w.queue.adds), label)
    help = "Total number of retries handled by workqueue"
    metrics.read("workqueue_retries_total", help, read(lambda w: w.queue.retries), label)
    help = "How many seconds of work has been done that is in progress and hasn't been observed by work_duration"
    metrics.read("workqueue_unfinished_work_seconds", help, read(lambda w: sum(w.queue.unfinished())), label)
    help = "How many seconds has the longest running processor for workqueue been running."
    longest = read(lambda w: max(w.queue.unfinished(), default=0.0))
    metrics.read("workqueue_longest_running_processor_seconds", help, longest, label)
    help = "How long in seconds an item stays in workqueue before being requested."
    waited = metrics.histogram("workqueue_queue_duration_seconds", help, SECONDS, label)
    help = "How long in seconds processing an item from workqueue takes."
    worked = metrics.histogram("workqueue_work_duration_seconds", help, SECONDS, label)

    def measure(worker: Worker) -> None:
        worker.queue.waited, worker.queue.worked = waited.of(worker.name).observe, worked.of(worker.name).observe

    return measure


def add_elections(metrics: Metrics, leads: Callable[[], Iterable[tuple[str, bool]]]) -> None:
    """Who of this control plane leads, by the lease's name."""
    help = (
        "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. "
        "'name' is the string used to identify the lease. Please make sure to group by name."
    )
    metrics.read("leader_election_master_status", help, lambda: [((n,), float(on)) for n, on in leads()], ("name",))
