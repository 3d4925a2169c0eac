"""Job status: what a Job's status says of its pods, its suspension and its verdict, with the events of what is new.

https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from collections.abc import Sequence

from sampan.control import job_indexes, job_pods, job_work
from sampan.control.job_verdict import Verdict
from sampan.control.job_work import Work
from sampan.control.plan import Event, normal, warning
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.meta import conditions, timestamps


def status(work: Work, verdict: Verdict | None, made: int) -> tuple[Object, list[Event]]:
    """As it should be; `made` pods are about to be created."""
    old, tally = work.job.get("status") or {}, work.tally
    uncounted = {"succeeded": list(tally.uncounted_succeeded), "failed": list(tally.uncounted_failed)}
    status: Object = {
        **old,
        "active": len(work.active) + made or None,
        "ready": sum(map(pod.is_ready, work.active)),
        "terminating": len(work.terminating),
        "succeeded": (len(work.completed) if job_work.is_indexed(work.job) else tally.succeeded) or None,
        "failed": tally.failed or None,
        "uncountedTerminatedPods": {name: uids for name, uids in uncounted.items() if uids},
    }
    if job_work.is_indexed(work.job):
        status["completedIndexes"] = job_pods.format_indexes(work.completed) or None
    if job_indexes.has_limit(work.job):
        status["failedIndexes"] = job_pods.format_indexes(work.failed_indexes)
    events = _set_suspended(work, status)
    if verdict is not None:
        events += _judge(work, verdict, status)
    return status, events


def _set_suspended(work: Work, status: Object) -> list[Event]:
    """startTime and the Suspended condition, as spec.suspend wishes."""
    listed = status.get("conditions") or []
    if work.job["spec"].get("suspend"):
        if conditions.is_true(status, "Suspended"):
            return []
        status["conditions"] = _with(listed, ("Suspended", "JobSuspended", "Job suspended"), work.now)
        return [normal("Suspended", "Job suspended")]
    events = []
    if conditions.is_true(status, "Suspended"):
        status["conditions"] = _with(listed, ("Suspended", "JobResumed", "Job resumed"), work.now, "False")
        events = [normal("Resumed", "Job resumed")]
        status["startTime"] = None  # the time of its deadline begins anew
    status["startTime"] = status.get("startTime") or timestamps.format(work.now)
    return events


def _judge(work: Work, verdict: Verdict, status: Object) -> list[Event]:
    """The verdict, and its execution once nothing runs and all ends are counted."""
    type, reason, message = verdict
    status["conditions"] = _with(status.get("conditions") or [], verdict, work.now)
    is_running = any(not pod.is_terminal(p) for p in work.pods)
    if is_running or status["uncountedTerminatedPods"]:
        return []
    last = "Complete" if type == "SuccessCriteriaMet" else "Failed"
    status["conditions"] = _with(status["conditions"], (last, reason, message), work.now)
    if last == "Failed":
        return [warning(reason, message)]
    status["completionTime"] = timestamps.format(work.now)
    wanted = work.job["spec"].get("completions")
    text = "Too many succeeded pods running after completion count reached"
    too_many = [warning("TooManySucceededPods", text)] if wanted is not None and work.succeeded > wanted else []
    return [*too_many, normal("Completed", "Job completed")]


def _with(listed: Sequence[Object], verdict: Verdict, now: float, status: str = "True") -> list[Object]:
    current = conditions.find(listed, verdict[0])
    if current is not None and current.get("status") == status:
        return list(listed)
    made = conditions.set(listed, verdict[0], status, verdict[1], verdict[2], now)
    return [{**c, "lastProbeTime": timestamps.format(now)} if c.get("type") == verdict[0] else c for c in made]


def finished(job: Object) -> Object | None:
    """The condition of a job that is over."""
    for type in ("Complete", "Failed"):
        found = conditions.get(job, type)
        if found is not None and found.get("status") == "True":
            return found
    return None
