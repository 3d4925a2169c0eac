"""Job policies: what a failed pod means to its job, and when enough indexes have succeeded.

The first rule that a failed pod matches decides: FailJob, FailIndex, Ignore or Count; without any, it counts.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sampan.control import job_pods
from sampan.kinds.kind import Object
from sampan.meta import objects

COUNT, FAIL_INDEX, FAIL_JOB, IGNORE = "Count", "FailIndex", "FailJob", "Ignore"
MANAGER = "kubernetes.io/job-controller"


def is_managed_elsewhere(job: Object) -> bool:
    """Whether another controller has said that it runs this job."""
    return job["spec"].get("managedBy") not in (None, MANAGER)


def action(job: Object, p: Object) -> tuple[str, str]:
    """What the job's policy says of a failed pod, and why."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        why = _matched(rule, p)
        if why:
            return rule["action"], f"{why} matching {rule['action']} rule at index {number}"
    return COUNT, ""


def is_ignored(job: Object, p: Object) -> bool:
    """Whether the pod's failure does not count."""
    return action(job, p)[0] == IGNORE


def job_failure(job: Object, pods: Iterable[Object]) -> str:
    """Why a failed pod ends the whole job; "" when none does."""
    for p in pods:
        if job_pods.is_tracked(p) and job_pods.has_failed(p, is_patient=True):
            decided, why = action(job, p)
            if decided == FAIL_JOB:
                return why
    return ""


def success(job: Object, completed: Collection[int]) -> str:
    """Which rule of the success policy holds; "" for none."""
    done = set(completed)
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            wanted = job_pods.parse_indexes(rule["succeededIndexes"])
            is_met = len(wanted & done) >= (len(wanted) if count is None else count)
        else:
            is_met = count is not None and len(done) >= count
        if is_met:
            return f"Matched rules at index {number}"
    return ""


def _matched(rule: Mapping[str, Any], p: Object) -> str:
    where = f"{objects.namespace(p)}/{objects.name(p)}"
    if rule.get("onExitCodes") is not None:
        found = _container(rule["onExitCodes"], p)
        return f"Container {found[0]} for pod {where} failed with exit code {found[1]}" if found else ""
    for pattern in rule.get("onPodConditions") or ():
        for condition in (p.get("status") or {}).get("conditions") or ():
            if (condition.get("type"), condition.get("status")) == (pattern["type"], pattern.get("status", "True")):
                return f"Pod {where} has condition {condition['type']}"
    return ""


def _container(wanted: Mapping[str, Any], p: Object) -> tuple[str, int] | None:
    """The first container that ended with an exit code as wanted; one that ended well never is."""
    status, name = p.get("status") or {}, wanted.get("containerName")
    is_in = wanted["operator"] == "In"
    for state in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        code = ((state.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code and name in (None, state.get("name")) and (code in wanted["values"]) == is_in:
            return state.get("name", ""), code
    return None
