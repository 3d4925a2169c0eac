"""Job: pods that run to completion, a given number of times.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import job_rules, job_status, pod_template, pod_warnings
from sampan.kinds.parts.cells import AGE
from sampan.meta import conditions, objects, timestamps
from sampan.meta.status import Cause
from sampan.meta.wire import table

UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"
LEGACY_UID_LABEL = "controller-uid"
LEGACY_NAME_LABEL = "job-name"
TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"

_STATUS_WORDS = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
)


def status_text(obj: Object, now: float) -> str:
    """Complete, Failed, Terminating, Suspended, FailureTarget, SuccessCriteriaMet, else Running."""
    for condition, word in _STATUS_WORDS:
        if conditions.is_true(obj, condition) if condition else objects.is_deleting(obj):
            return word
    return "Running"


def completions_text(obj: Object, now: float) -> str:
    """Succeeded of wanted: 1/3; without a wish: 1/1 of 4."""
    spec, succeeded = obj.get("spec") or {}, (obj.get("status") or {}).get("succeeded") or 0
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def duration_text(obj: Object, now: float) -> str:
    """From start to completion, or until now."""
    status = obj.get("status") or {}
    if not status.get("startTime"):
        return ""
    end = timestamps.parse(status["completionTime"]) if status.get("completionTime") else now
    return table.human_duration(end - timestamps.parse(status["startTime"]))


JOB = Kind(
    group="batch",
    versions=("v1",),
    name="Job",
    plural="jobs",
    schema="io.k8s.api.batch.v1.Job",
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        Column("Status", status_text, description="Status of the job."),
        Column("Completions", completions_text),
        Column("Duration", duration_text, description="Time required to complete the job."),
        AGE,
        pod_template.CONTAINERS,
        pod_template.IMAGES,
        pod_template.SELECTOR,
    ),
    selectable={"status.successful": "status.succeeded"},
    has_generation=True,
    orphaning=True,
    orphaning_warning="child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to"
    " remove them or set propagationPolicy=Orphan to suppress this warning",
)


def is_finished(job: Object) -> bool:
    """Whether it is Complete or Failed."""
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def default(obj: Object) -> None:
    """One completion by one pod, six failures allowed, not suspended."""
    spec = obj.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    spec.setdefault("backoffLimit", 2**31 - 1 if per_index else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    if not spec.get("podReplacementPolicy"):
        spec["podReplacementPolicy"] = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    template = spec.get("template")
    if template is not None:
        pod_template.default(template)
    labels = ((template or {}).get("metadata") or {}).get("labels")
    if labels and not obj.setdefault("metadata", {}).get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    job_rules.default_patterns(spec)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one gets its selector and the template's labels from its uid."""
    if old is not None:
        return
    new["status"] = {}
    spec = new["spec"]
    if spec.get("manualSelector") or spec.get("template") is None:
        return
    uid, name = objects.uid(new), objects.name(new)
    labels = {**((spec["template"].get("metadata") or {}).get("labels") or {})}
    for key, value in (
        (LEGACY_NAME_LABEL, name),
        (NAME_LABEL, name),
        (LEGACY_UID_LABEL, uid),
        (UID_LABEL, uid),
    ):
        labels[key] = value
    spec["template"]["metadata"] = {**(spec["template"].get("metadata") or {}), "labels": labels}
    if not new["metadata"].get("labels"):
        new["metadata"]["labels"] = dict(labels)
    selector = spec.get("selector")
    if selector is None:
        selector = spec["selector"] = {}
    matched = selector.get("matchLabels")
    if matched is None:
        matched = selector["matchLabels"] = {}
    matched.setdefault(UID_LABEL, uid)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Counts, template and selector; most of a job never changes."""
    if subresource == "status":
        return job_status.causes(new, old)
    return job_rules.causes(new, old)


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The template's warnings."""
    return pod_warnings.template_warnings(new, old)
