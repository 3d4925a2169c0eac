"""Cron runs: which run of a CronJob is due now, how many were missed before it, and when to look again.

Only the most recent of the missed runs is made up for.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#starting-deadline
"""

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from sampan.kinds.batch import cron_job
from sampan.kinds.kind import Object
from sampan.kinds.parts import cron_schedule, cron_times
from sampan.kinds.parts.cron_schedule import Schedule
from sampan.meta import objects, timestamps

MANY = 100
LATE_SECONDS = 0.1
"""How long after a run is due it is looked for, since clocks of machines differ a little."""
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class NeverTwice(ValueError):
    """A schedule that is due once at most, such as that of the 31st of February."""

    def __init__(self) -> None:
        super().__init__("time difference between two schedules is less than 1 second")


class Timing(NamedTuple):
    """When a CronJob's runs are due: its schedule, read, and the time zone it is meant in."""

    schedule: Schedule
    zone: tzinfo

    def next_after(self, after: float) -> float | None:
        """The first run later than that."""
        return cron_times.next_after(self.schedule, after, self.zone)


@dataclass(frozen=True, slots=True)
class Missed:
    """The most recent run that is due and was not made, and about how many there were since `since`."""

    since: float
    latest: float | None = None
    count: int = 0


def timing(obj: Object) -> Timing:
    """The CronJob's. ValueError in upstream's words when the schedule cannot be read."""
    schedule = cron_schedule.parse(obj["spec"]["schedule"])
    if schedule.zone and not cron_job.is_zone(schedule.zone):
        raise ValueError(f"provided bad location {schedule.zone}: unknown time zone {schedule.zone}")
    return Timing(schedule, zone(schedule.zone or obj["spec"].get("timeZone") or ""))


def zone(name: str) -> tzinfo:
    """The time zone of that name; UTC for "" and for a name that nobody knows."""
    return zoneinfo.ZoneInfo(name) if name and cron_job.is_zone(name) else UTC


def missed(obj: Object, timing: Timing, now: float, *, has_deadline: bool = True) -> Missed:
    """Runs since the last one, or the CronJob's creation, within its starting deadline. Raises NeverTwice."""
    last = (obj.get("status") or {}).get("lastScheduleTime")
    since = timestamps.parse(last or obj["metadata"]["creationTimestamp"])
    deadline = obj["spec"].get("startingDeadlineSeconds")
    if has_deadline and deadline is not None:
        since = max(since, now - deadline)
    first = timing.next_after(since)
    if first is None:
        raise NeverTwice
    if now < first:
        return Missed(since)
    second = timing.next_after(first)
    if second is None:
        raise NeverTwice
    if now < second:
        return Missed(since, first)
    between = round(second - first)
    count = int(now - first) // between + 1
    return Missed(since, _latest(timing, first + (count - 2) * between, now), count)


def _latest(timing: Timing, after: float, now: float) -> float | None:
    """The last run that is later than `after` and due by now."""
    latest, following = None, timing.next_after(after)
    while following is not None and following <= now:
        latest, following = following, timing.next_after(following)
    return latest


def seconds_to_next(obj: Object, timing: Timing, now: float) -> float | None:
    """How long it is until the run after the one that is due, or after the last one."""
    try:
        found = missed(obj, timing, now, has_deadline=False)
    except NeverTwice:
        base = now
    else:
        base = found.latest if found.latest is not None else now if found.count else found.since
    following = timing.next_after(base)
    return None if following is None else following + LATE_SECONDS - now


def job_name(obj: Object, scheduled: float) -> str:
    """The same for the same run, so that no run is made twice."""
    return f"{objects.name(obj)}-{int(scheduled) // 60}"


def scheduled_text(scheduled: float, zone: tzinfo) -> str:
    """RFC 3339 as the zone's clocks show it; Z where they show UTC."""
    text = datetime.fromtimestamp(int(scheduled), zone).isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def scheduled_at(job: Object, obj: Object) -> float | None:
    """For which run a job was made by the CronJob's controller; None for jobs of other origin."""
    text = objects.annotations(job).get(SCHEDULED_AT, "")
    if not timestamps.is_valid(text):
        return None
    scheduled = timestamps.parse(text)
    return scheduled if objects.name(job) == job_name(obj, scheduled) else None
