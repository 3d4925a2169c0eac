"""CronJob: makes a Job whenever the clock says so.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/
"""

import re
import zoneinfo
from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import cron_schedule, job_rules, numbers, pod_template, pod_warnings
from sampan.kinds.parts.cells import AGE, NONE
from sampan.meta import objects, selectors
from sampan.meta.status import Cause, invalid_value, not_supported, required
from sampan.meta.wire import table


def last_schedule_text(obj: Object, now: float) -> str:
    """Time since it last made a job."""
    last = (obj.get("status") or {}).get("lastScheduleTime")
    return table.age(last, now) if last else NONE


def suspend_text(obj: Object, now: float) -> str:
    """True or False."""
    suspend = (obj.get("spec") or {}).get("suspend")
    return "<unset>" if suspend is None else str(bool(suspend))


def selector_text(obj: Object, now: float) -> str:
    """The job template's own selector."""
    selector = objects.get_path(obj, "spec.jobTemplate.spec.selector")
    return str(selectors.from_label_selector(selector)) if selector else NONE


def _containers_text(field: str) -> Any:
    path = "spec.jobTemplate.spec.template.spec.containers"
    return lambda obj, now: ",".join(c.get(field, "") for c in objects.get_path(obj, path) or ())


CRONJOB = Kind(
    group="batch",
    versions=("v1",),
    name="CronJob",
    plural="cronjobs",
    schema="io.k8s.api.batch.v1.CronJob",
    short_names=("cj",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        Column("Schedule", "spec.schedule"),
        Column("Timezone", lambda o, now: (o.get("spec") or {}).get("timeZone") or NONE),
        Column("Suspend", suspend_text, kind="boolean"),
        Column("Active", lambda o, now: len((o.get("status") or {}).get("active") or ()), kind="integer"),
        Column("Last Schedule", last_schedule_text),
        AGE,
        Column("Containers", _containers_text("name"), wide=True),
        Column("Images", _containers_text("image"), wide=True),
        Column("Selector", selector_text, wide=True),
    ),
    has_generation=True,
)

MAX_NAME = 52
_POLICIES = ("Allow", "Forbid", "Replace")
_ZONE_PART = re.compile(r"[A-Za-z._0-9+-]{1,14}", re.ASCII)


def default(obj: Object) -> None:
    """Jobs may overlap; three good ones and a bad one are kept."""
    spec = obj.setdefault("spec", {})
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.get("jobTemplate") or {}
    if template:
        template.setdefault("metadata", {})
    job = template.get("spec") or {}
    if job.get("template") is not None:
        pod_template.default(job["template"])
    job_rules.default_patterns(job)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has made nothing yet."""
    if old is None:
        new["status"] = {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Schedule, zone, policy, and the template of its jobs."""
    if subresource == "status":
        return ()
    spec, name = new.get("spec") or {}, objects.name(new)
    before = (old.get("spec") or {}) if old else None
    found = schedule_causes(spec, before)
    found += numbers.negative_causes(spec, "spec", "startingDeadlineSeconds")
    if spec.get("timeZone") is not None and (before is None or before.get("timeZone") != spec["timeZone"]):
        found += zone_causes(spec["timeZone"], "spec.timeZone")
    policy = spec.get("concurrencyPolicy")
    if policy not in _POLICIES:
        found.append(not_supported("spec.concurrencyPolicy", policy, _POLICIES))
    template = spec.get("jobTemplate") or {}
    if before is None or template != before.get("jobTemplate"):
        found += _template_causes(template)
    found += numbers.negative_causes(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    if old is None and len(name) > MAX_NAME:
        found.append(invalid_value("metadata.name", name, f"must be no more than {MAX_NAME} characters"))
    return found


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The pod template's warnings, and a zone inside the schedule."""
    found = []
    spec = new.get("spec") or {}
    if "TZ" in (spec.get("schedule") or ""):
        link = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
        found.append(f"CRON_TZ or TZ used in spec.schedule is not officially supported, see {link} for more details")
    path = "spec.jobTemplate.spec.template"
    if old is None or objects.get_path(new, path) != objects.get_path(old, path):
        found += pod_warnings.warnings(objects.get_path(new, path) or {}, path)
    return found


def schedule_causes(spec: dict[str, Any], before: dict[str, Any] | None) -> list[Cause]:
    """What is wrong with the schedule; a zone inside it is borne only where it was before."""
    text = spec.get("schedule") or ""
    if not text:
        return [required("spec.schedule")]
    found = []
    try:
        schedule = cron_schedule.parse(text)
        if schedule.zone and not is_zone(schedule.zone):
            text_of = f"provided bad location {schedule.zone}: unknown time zone {schedule.zone}"
            found.append(invalid_value("spec.schedule", text, text_of))
    except ValueError as error:
        found.append(invalid_value("spec.schedule", text, str(error)))
    if "TZ" in text:
        if before is None or "TZ" not in (before.get("schedule") or ""):
            why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            found.append(invalid_value("spec.schedule", text, why))
        elif spec.get("timeZone") is not None:
            why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            found.append(invalid_value("spec.schedule", text, why))
    return found


def zone_causes(zone: str, path: str) -> list[Cause]:
    """What is wrong with the name of a time zone."""
    if not zone:
        return [invalid_value(path, zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid_value(path, zone, text)]
    return [] if is_zone(zone) else [invalid_value(path, zone, f"unknown time zone {zone}")]


def is_zone(zone: str) -> bool:
    """Whether the time zone database knows the name."""
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or _ZONE_PART.fullmatch(part) is None:
            return False
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _template_causes(template: dict[str, Any]) -> list[Cause]:
    path = "spec.jobTemplate.spec"
    job = template.get("spec") or {}
    found: list[Cause] = []
    if job.get("selector") is not None:
        text = "`selector` will be auto-generated"
        found.append(invalid_value(f"{path}.selector", job["selector"], text))
    if job.get("manualSelector"):
        found.append(not_supported(f"{path}.manualSelector", job["manualSelector"], ("nil", "false")))
    return found + job_rules.spec_causes(job, path, is_template_new=True)
