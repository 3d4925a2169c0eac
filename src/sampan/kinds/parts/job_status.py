"""Which job statuses are refused: ends that contradict each other, or that leave something uncounted.

What was wrong before may stay wrong: only what an update makes wrong is refused.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import job_policies, numbers
from sampan.meta import conditions, timestamps
from sampan.meta.status import Cause, duplicate, invalid_value, required

Tree = Mapping[str, Any]

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_PAIRS = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
)
_FIRST = (
    ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
    (
        "Complete",
        "SuccessCriteriaMet",
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    ),
)


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All causes that `old` did not have already."""
    found = _causes(new)
    before = _causes(old) if found and old is not None else []
    return [cause for cause in found if cause not in before]


def _causes(job: Object) -> list[Cause]:
    status, spec = job.get("status") or {}, job.get("spec") or {}
    found = numbers.negative_causes(status, "status", *_COUNTS)
    found += _uncounted_causes(status.get("uncountedTerminatedPods") or {})
    found += _condition_causes(job)
    found += _time_causes(job, status)
    found += _finished_causes(job, status)
    return found + _index_causes(spec, status)


def _uncounted_causes(uncounted: Tree) -> list[Cause]:
    found = []
    seen: set[str] = set()
    for name in ("succeeded", "failed"):
        for index, uid in enumerate(uncounted.get(name) or ()):
            path = f"status.uncountedTerminatedPods.{name}[{index}]"
            if not uid:
                found.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                found.append(duplicate(path, uid))
            seen.add(uid)
    return found


def _condition_causes(job: Object) -> list[Cause]:
    listed = (job.get("status") or {}).get("conditions") or ()
    true = {condition.get("type") for condition in listed if condition.get("status") == "True"}
    texts = [text for one, other, text in _PAIRS if one in true and other in true]
    texts += [text for last, first, text in _FIRST if last in true and first not in true]
    return [Cause("status.conditions", "FieldValueInvalid", f"Invalid value: {text}") for text in texts]


def _time_causes(job: Object, status: Tree) -> list[Cause]:
    path, end, start = "status.completionTime", status.get("completionTime"), status.get("startTime")
    is_complete = conditions.is_true(job, "Complete")
    if end is None:
        return [required(path, "completionTime is required for Complete jobs")] if is_complete else []
    if not is_complete:
        return [invalid_value(path, end, "cannot set completionTime when there is no Complete=True condition")]
    if start is not None and timestamps.parse(end) < timestamps.parse(start):
        return [invalid_value(path, end, "completionTime cannot be set before startTime")]
    return []


def _finished_causes(job: Object, status: Tree) -> list[Cause]:
    if not conditions.is_true(job, "Complete") and not conditions.is_true(job, "Failed"):
        return []
    found = []
    if (status.get("active") or 0) > 0:
        found.append(invalid_value("status.active", status["active"], "active>0 is invalid for finished job"))
    if status.get("startTime") is None:
        found.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    if uncounted.get("succeeded") or uncounted.get("failed"):
        text = "uncountedTerminatedPods needs to be empty for finished job"
        found.append(invalid_value("status.uncountedTerminatedPods", uncounted, text))
    return found


def _index_causes(spec: Tree, status: Tree) -> list[Cause]:
    found = []
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    if spec.get("completionMode") != "Indexed":
        if completed:
            text = "cannot set non-empty completedIndexes when non-indexed completion mode"
            found.append(invalid_value("status.completedIndexes", completed, text))
    else:
        found += _format_causes("completedIndexes", completed, spec.get("completions") or 0)
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        found.append(invalid_value("status.failedIndexes", failed, text))
    elif failed:
        found += _format_causes("failedIndexes", failed, spec.get("completions") or 0)
    return found


def _format_causes(field: str, text: str, completions: int) -> list[Cause]:
    try:
        job_policies.count_indexes(text, completions)
    except ValueError as error:
        return [invalid_value(f"status.{field}", text, f"error parsing {field}: {error}")]
    return []
