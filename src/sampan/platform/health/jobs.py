"""Jobs: Jobs and CronJobs, by the pods that failed."""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.batch.job import JOB
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects
from sampan.platform.health import pods, refusals, words
from sampan.platform.health.at import told
from sampan.platform.health.lookup import Lookup, owned, warnings
from sampan.platform.health.verdict import FAILED, HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about, because

Object = Mapping[str, Any]


def job(obj: Object, look: Lookup) -> Verdict:
    """A Job."""
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    if conditions.is_true(obj, "Complete"):
        return about(
            obj, HEALTHY, "Complete", f"is complete: {words.plural(int(status.get('succeeded', 0)), 'pod')} ended well"
        )
    failed = conditions.get(obj, "Failed") or conditions.get(obj, "FailureTarget")
    if failed is not None and failed.get("status") == "True":
        return _failed(obj, failed, look)
    if spec.get("suspend"):
        return about(obj, HEALTHY, "Suspended", "is suspended, as it is told")
    found = _pods(obj, look)
    refused = refusals.judge(obj, look) if not found else None
    message = f"runs: {int(status.get('active', 0))} active, {int(status.get('succeeded', 0))} ended well"
    tried = int(status.get("failed", 0))
    if tried:
        message += f", {tried} failed of {int(spec.get('backoffLimit', 6)) + 1} that may"
    verdict = about(obj, PROGRESSING, "Running", message)
    return because(verdict, [*([refused] if refused else ()), *found])


def cron_job(obj: Object, look: Lookup) -> Verdict:
    """A CronJob: its last run, or why there is none."""
    if (obj.get("spec") or {}).get("suspend"):
        return about(obj, HEALTHY, "Suspended", "is suspended, as it is told")
    runs = sorted(owned(look, JOB, obj), key=lambda run: str(objects.metadata(run).get("creationTimestamp")))
    if runs:
        last = job({"apiVersion": "batch/v1", "kind": "Job", **runs[-1]}, look)
        if not last.is_healthy:
            return because(
                about(obj, last.state, "LastRunFailed", f"has a last run that is {last.state.lower()}"), [last]
            )
        return about(obj, HEALTHY, "LastRunFine", f"has a last run that {last.message}")
    found = warnings(
        look, obj, "FailedCreate", "TooManyMissedTimes", "UnparseableSchedule", "InvalidSchedule", "UnknownTimeZone"
    )
    if found:
        text = words.clipped(str(found[0].get("message", "")))
        steps: tuple[str, ...] = (f"{words.in_namespace(objects.namespace(obj))} edit cronjob {objects.name(obj)}",)
        return about(
            obj,
            STUCK,
            str(found[0].get("reason")),
            f"makes no job: {text}",
            evidence=(told(found[0], look),),
            next=steps,
        )
    return about(
        obj, HEALTHY, "Scheduled", f"has not run yet; its schedule is {(obj.get('spec') or {}).get('schedule')}"
    )


def _failed(obj: Object, condition: Object, look: Lookup) -> Verdict:
    spec, reason = obj.get("spec") or {}, str(condition.get("reason", "Failed"))
    shown = (Evidence("condition", f"Failed: {reason}: {condition.get('message', '')}"),)
    where = words.in_namespace(objects.namespace(obj))
    again = f"{where} replace --force -f FILE"
    if reason == "DeadlineExceeded":
        message = f"ran longer than its {spec.get('activeDeadlineSeconds')}s, and was ended"
        steps: tuple[str, ...] = (f"give it more time, or see what keeps it: spec.activeDeadlineSeconds; then {again}",)
        return because(about(obj, FAILED, reason, message, evidence=shown, next=steps), _pods(obj, look))
    message = f"has failed: {words.clipped(str(condition.get('message', '')))}"
    if reason == "BackoffLimitExceeded":
        tried = int((obj.get("status") or {}).get("failed", 0))
        message = f"has failed after {words.plural(tried, 'try').replace('trys', 'tries')} (backoffLimit {spec.get('backoffLimit', 6)})"
    steps = (f"{where} logs job/{objects.name(obj)}", f"correct it, then {again}")
    return because(about(obj, FAILED, reason, message, evidence=shown, next=steps), _pods(obj, look))


def _pods(obj: Object, look: Lookup) -> list[Verdict]:
    """Its pods, the latest first."""
    found = sorted(
        owned(look, POD, obj), key=lambda pod: str(objects.metadata(pod).get("creationTimestamp")), reverse=True
    )
    return [pods.judge({"apiVersion": "v1", "kind": "Pod", **pod}, look) for pod in found]
