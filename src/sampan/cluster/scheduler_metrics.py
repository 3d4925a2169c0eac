"""What is counted of the scheduler that runs in the server's process: attempts, how long they take, and who waits.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections import Counter
from collections.abc import Callable, Iterable

from sampan.scheduling.counting import Counts
from sampan.scheduling.loop import Scheduler
from sampan.server.metrics import Metrics, Sample

MILLISECONDS = tuple(0.001 * 2**n for n in range(15))
LONG = tuple(0.01 * 2**n for n in range(20))
FEW = tuple(float(2**n) for n in range(7))
QUEUES = ("active", "backoff", "gated", "unschedulable")
MOST_TOLD = 15
"""Attempts of a pod are told apart up to here."""


class Measured(Counts):
    """The counts of whichever scheduler works at the time; `present` gives it, or None."""

    def __init__(self, metrics: Metrics, present: Callable[[], Scheduler | None]) -> None:
        self._present = present
        labels = ("profile", "result")
        help = (
            "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, "
            "while 'error' means an internal scheduler problem."
        )
        self._attempts = metrics.counter("scheduler_schedule_attempts_total", help, labels)
        help = "Scheduling attempt latency in seconds (scheduling algorithm + binding)"
        name = "scheduler_scheduling_attempt_duration_seconds"
        self._durations = metrics.histogram(name, help, MILLISECONDS, labels)
        help = "Scheduling algorithm latency in seconds"
        self._decisions = metrics.histogram("scheduler_scheduling_algorithm_duration_seconds", help, MILLISECONDS)
        help = "Number of selected preemption victims"
        self._victims = metrics.histogram("scheduler_preemption_victims", help, FEW)
        help = "Total preemption attempts in the cluster till now"
        self._searches = metrics.counter("scheduler_preemption_attempts_total", help)
        help = "Number of attempts to successfully schedule a pod."
        self._numbers = metrics.histogram("scheduler_pod_scheduling_attempts", help, FEW[:5])
        help = (
            "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve "
            "multiple scheduling attempts."
        )
        name = "scheduler_pod_scheduling_sli_duration_seconds"
        self._waits = metrics.histogram(name, help, LONG, ("attempts",))
        self._read(metrics)

    def _read(self, metrics: Metrics) -> None:
        help = (
            "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number "
            "of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted "
            "to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to "
            "schedule because they are gated."
        )
        metrics.read("scheduler_pending_pods", help, self._pending, ("queue",))
        help = (
            "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins "
            "that caused it to not schedule and so this metric have meaning only when broken down by plugin."
        )
        metrics.read("scheduler_unschedulable_pods", help, self._unschedulable, ("plugin", "profile"))
        help = "Number of nodes, pods, and assumed (bound) pods in the scheduler cache."
        metrics.read("scheduler_cache_size", help, self._sizes, ("type",))

    def decided(self, seconds: float) -> None:
        self._decisions.of().observe(seconds)

    def attempted(self, profile: str, result: str, seconds: float) -> None:
        self._attempts.add(profile, result)
        self._durations.of(profile, result).observe(seconds)

    def placed(self, attempts: int, seconds: float) -> None:
        self._numbers.of().observe(attempts)
        self._waits.of(f"{MOST_TOLD}+" if attempts >= MOST_TOLD else str(attempts)).observe(seconds)

    def preempted(self, victims: int) -> None:
        self._searches.add()
        if victims:
            self._victims.of().observe(victims)

    def _pending(self) -> Iterable[Sample]:
        scheduler = self._present()
        found = scheduler.queues() if scheduler is not None else {}
        return [((queue,), found.get(queue, 0)) for queue in QUEUES]

    def _unschedulable(self) -> Iterable[Sample]:
        scheduler = self._present()
        found = scheduler.refusals() if scheduler is not None else Counter[tuple[str, str]]()
        return sorted(found.items())

    def _sizes(self) -> Iterable[Sample]:
        scheduler = self._present()
        found = scheduler.sizes() if scheduler is not None else {}
        return [((type,), size) for type, size in found.items()]
