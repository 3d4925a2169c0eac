"""Job work: one Job as it is observed, with its pods and how far each of them is.

https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from typing import NamedTuple

from sampan.control import job_backoff, job_indexes, job_pods
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps


class Work(NamedTuple):
    """One job as it is observed."""

    job: Object
    pods: tuple[Object, ...]
    tally: job_pods.Tally
    now: float
    failures: job_backoff.Failures
    """Those that the next pod waits for."""

    @property
    def active(self) -> list[Object]:
        return [p for p in self.pods if pod.is_active(p)]

    @property
    def terminating(self) -> list[Object]:
        return [p for p in self.pods if objects.is_deleting(p) and not pod.is_terminal(p)]

    @property
    def busy(self) -> list[Object]:
        """Pods whose places are not to be filled yet."""
        return [*self.active, *self.terminating] if is_patient(self.job) else self.active

    @property
    def completed(self) -> set[int]:
        """Indexes that have succeeded; none where pods have no index."""
        if not is_indexed(self.job):
            return set()
        status = self.job.get("status") or {}
        done = job_pods.parse_indexes(status.get("completedIndexes", ""))
        failed = set((status.get("uncountedTerminatedPods") or {}).get("failed") or ())
        ended = [p for p in self.pods if job_pods.has_succeeded(p) and objects.uid(p) not in failed]
        seen = {job_pods.index_of(p) for p in ended if job_pods.is_tracked(p)}
        return {i for i in done | seen if i is not None and i < self.job["spec"].get("completions", 0)}

    @property
    def failed_indexes(self) -> set[int]:
        """Indexes that are given up."""
        failed = job_indexes.failed(self.job, self.pods)
        return failed - self.completed if failed else failed

    @property
    def succeeded(self) -> int:
        return len(self.completed) if is_indexed(self.job) else self.tally.all_succeeded


def is_patient(job: Object) -> bool:
    """Whether a pod is replaced only when it has ended."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def is_indexed(job: Object) -> bool:
    """Whether each pod has an index, of which each has to succeed once."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def seconds_to_deadline(job: Object, status: Object, now: float) -> float | None:
    """Until the job has been active for too long; None where it may be for ever."""
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is None or not status.get("startTime") or job["spec"].get("suspend"):
        return None
    return timestamps.parse(status["startTime"]) + float(deadline) - now
