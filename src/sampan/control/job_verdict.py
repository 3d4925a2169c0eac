"""Job verdict: whether a Job has done what it should, has failed, or goes on.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup
"""

from sampan.control import job_pods, job_policies, job_work
from sampan.control.job_work import Work
from sampan.meta import conditions

REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")

Verdict = tuple[str, str, str]
"""The type of a condition, its reason and message."""


def verdict(work: Work) -> Verdict | None:
    """What has been or is now decided, with its reason."""
    for type in ("FailureTarget", "SuccessCriteriaMet"):
        decided = conditions.get(work.job, type)
        if decided is not None and decided.get("status") == "True":
            return type, decided.get("reason", ""), decided.get("message", "")
    spec = work.job["spec"]
    why = job_policies.job_failure(work.job, work.pods)
    if why:
        return "FailureTarget", "PodFailurePolicy", why
    limit = spec.get("backoffLimit", 6)
    if work.tally.all_failed > limit or _has_restarted_too_often(work, limit):
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    left = job_work.seconds_to_deadline(work.job, work.job.get("status") or {}, work.now)
    if left is not None and left <= 0:
        return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    wanted = spec.get("completions")
    return _index_verdict(work) or _enough(work, wanted)


def _index_verdict(work: Work) -> Verdict | None:
    """What failed and succeeded indexes decide."""
    spec, failed = work.job["spec"], work.failed_indexes
    most = spec.get("maxFailedIndexes")
    if most is not None and len(failed) > most:
        text = "Job has exceeded the specified maximal number of failed indexes"
        return "FailureTarget", "MaxFailedIndexesExceeded", text
    if failed and len(failed) + len(work.completed) >= spec["completions"]:
        return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    met = job_policies.success(work.job, work.completed) if spec.get("successPolicy") else ""
    return ("SuccessCriteriaMet", "SuccessPolicy", met) if met else None


def _enough(work: Work, wanted: int | None) -> Verdict | None:
    is_enough = work.succeeded > 0 if wanted is None else work.succeeded >= wanted
    return ("SuccessCriteriaMet", *REACHED) if is_enough and not work.active else None


def _has_restarted_too_often(work: Work, limit: int) -> bool:
    if work.job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    count = job_pods.restarts(work.pods)
    return count > 0 if limit == 0 else count >= limit
