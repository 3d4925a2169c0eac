"""When a CronHorizontalPodAutoscaler's job is due: six cron fields, the first for seconds, or a word such as @hourly.

The weekday may be left out. `@date 2026-11-11 00:00:00` is due once, `@every 90s` so long after the last time. Times are
UTC unless the schedule begins with TZ=ZONE. Complaints are in upstream's words.

https://github.com/AliyunContainerService/kubernetes-cronhpa-controller
"""

import math
import zoneinfo
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

from sampan.kinds.batch import cron_job
from sampan.kinds.parts import cron_schedule, cron_times
from sampan.kinds.parts.cron_schedule import Schedule
from sampan.kit.texts import Texts

_DATE, _FORM = "@date ", "%Y-%m-%d %H:%M:%S"
_LOOKS = (60.0, 3600.0, 86400.0, 31 * 86400.0)
_SECOND = frozenset({0})


@dataclass(frozen=True, slots=True)
class Timing:
    """A schedule that was read: the minutes in which it is due, and the seconds of each. `once` is the time of a @date."""

    minutes: Schedule
    seconds: frozenset[int] = _SECOND
    zone: tzinfo = UTC
    once: float | None = None

    def next_after(self, after: float) -> float | None:
        """The first time later than that (unix seconds); None when there is none in five years."""
        if self.once is not None:
            return self.once if self.once > after else None
        if self.minutes.every_seconds:
            return cron_times.next_after(self.minutes, after, self.zone)
        minute = math.floor(after / 60) * 60.0
        found = cron_times.next_after(self.minutes, minute - 1, self.zone)
        if found == minute:
            later = [minute + second for second in sorted(self.seconds) if minute + second > after]
            if later:
                return later[0]
            found = cron_times.next_after(self.minutes, minute, self.zone)
        return None if found is None else found + min(self.seconds)

    def last_due(self, since: float, now: float) -> float | None:
        """The latest time after `since` that is not after `now`."""
        for seconds in (*_LOOKS, math.inf):
            latest, following = None, self.next_after(max(since, now - seconds))
            while following is not None and following <= now:
                latest, following = following, self.next_after(following)
            if latest is not None or now - seconds <= since:
                return latest
        return None

    def takes_day(self, at: float) -> bool:
        """Whether it is due at any time of the day on which that is."""
        begins = datetime.fromtimestamp(at, self.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        found = self.next_after(begins.timestamp() - 1)
        return found is not None and found < (begins + timedelta(days=1)).timestamp()


def parse(text: str) -> Timing:
    """What a schedule says. ValueError when it can't be read."""
    return _TIMINGS[text]


def _timing(text: str) -> Timing:
    if not text:
        raise ValueError("Empty spec string")
    zone: tzinfo = UTC
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, text = text.partition(" ")
        name = head.partition("=")[2]
        if not cron_job.is_zone(name):
            raise ValueError(f"Provided bad location {name}: unknown time zone {name}")
        zone, text = zoneinfo.ZoneInfo(name), text.strip()
    if text.startswith(_DATE):
        return Timing(Schedule(), zone=zone, once=_date(text, zone))
    if text.startswith("@"):
        return Timing(_read(text), zone=zone)
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    second, minute, hour, day, month, weekday = (*fields, "*")[:6]
    seconds = _read(f"{second} * * * *").minutes
    minutes = _read(f"{minute} {hour} {day} {month} {weekday}")
    return Timing(replace(minutes, is_any_day=_is_star(day), is_any_weekday=_is_star(weekday)), seconds, zone)


_TIMINGS = Texts(_timing, 128)


def is_date(text: str) -> bool:
    """Whether a schedule is due once in any case."""
    return _DATE in text


def _read(text: str) -> Schedule:
    try:
        return cron_schedule.parse(text)
    except ValueError as error:
        said = str(error)
        raise ValueError(said[:1].upper() + said[1:]) from error


def _date(text: str, zone: tzinfo) -> float:
    wish = text.removeprefix(_DATE)
    try:
        return datetime.strptime(wish, _FORM).replace(tzinfo=zone).timestamp()
    except ValueError as error:
        why = f'parsing time "{wish}" as "2006-01-02 15:04:05": cannot parse'
        raise ValueError(f"Failed to parse date {text}: {why}") from error


def _is_star(field: str) -> bool:
    """Whether the field takes all days in some part of it, even if only some of them."""
    return any(part.partition("/")[0].split("-")[0] in ("*", "?") for part in field.split(","))
