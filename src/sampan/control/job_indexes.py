"""Job indexes that fail on their own: how often each did, when to try it again, and when it has failed for good.

A pod carries in an annotation how often its index failed before it. The last failed pod of an index keeps its
finalizer until its successor is there, so that the count is never lost.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#backoff-limit-per-index
"""

from collections.abc import Iterable, Sequence

from sampan.control import job_backoff, job_pods, job_policies
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


def has_limit(job: Object) -> bool:
    """Whether each index has its own limit."""
    return job["spec"].get("backoffLimitPerIndex") is not None


def failures(p: Object) -> int:
    """How often the pod's index had failed before it."""
    return _number(p, FAILURES)


def failed(job: Object, pods: Iterable[Object]) -> set[int]:
    """Indexes that have failed for good."""
    if not has_limit(job):
        return set()
    gone = job_pods.parse_indexes((job.get("status") or {}).get("failedIndexes") or "")
    found = {job_pods.index_of(p) for p in pods if job_pods.is_tracked(p) and _ends_index(job, p)}
    return {i for i in gone | found if i is not None and i < job["spec"].get("completions", 0)}


def _ends_index(job: Object, p: Object) -> bool:
    if not _has_failed(job, p):
        return False
    decided, _ = job_policies.action(job, p)
    if decided == job_policies.IGNORE:
        return False
    return decided == job_policies.FAIL_INDEX or failures(p) >= int(job["spec"]["backoffLimitPerIndex"])


def last_failed(job: Object, pods: Iterable[Object]) -> dict[int, Object]:
    """The last failed pod of each index, by what it and its forerunners went through."""
    found: dict[int, Object] = {}
    for p in pods:
        index = job_pods.index_of(p)
        if index is None or not _has_failed(job, p):
            continue
        if index not in found or _experience(p) > _experience(found[index]):
            found[index] = p
    return found


def to_keep(job: Object, pods: Sequence[Object], over: set[int]) -> set[str]:
    """Uids of failed pods whose count is still needed: their index has no successor and is not `over`."""
    if not has_limit(job):
        return set()
    latest = last_failed(job, [p for p in pods if job_pods.is_tracked(p)])
    alive: dict[int, int] = {}
    for p in pods:
        index = job_pods.index_of(p)
        if index is not None and not pod.is_terminal(p) and not objects.is_deleting(p):
            alive[index] = max(alive.get(index, 0), sum(_experience(p)))
    kept = {i: p for i, p in latest.items() if i not in over and alive.get(i, -1) <= sum(_experience(p))}
    return {objects.uid(p) for p in kept.values()}


def annotations(job: Object, before: Object | None) -> dict[str, str]:
    """What the next pod of an index carries, after the last failed one."""
    if before is None:
        return {FAILURES: "0"}
    counted, ignored = failures(before), _number(before, IGNORED_FAILURES)
    if job_policies.is_ignored(job, before):
        ignored += 1
    else:
        counted += 1
    return {FAILURES: str(counted)} | ({IGNORED_FAILURES: str(ignored)} if ignored else {})


def backoff_seconds(before: Object | None, now: float) -> float:
    """How long to wait before the next pod of an index; failures that don't count make it longer too."""
    if before is None:
        return 0.0
    return job_backoff.remaining(sum(_experience(before)) + 1, job_backoff.finished_at(before), now)


def _has_failed(job: Object, p: Object) -> bool:
    return job_pods.has_failed(p, is_patient=job["spec"].get("podReplacementPolicy") == "Failed")


def _experience(p: Object) -> tuple[int, int]:
    return failures(p), _number(p, IGNORED_FAILURES)


def _number(p: Object, annotation: str) -> int:
    return max(intstr.whole(objects.annotations(p).get(annotation, "0")) or 0, 0)
