"""When a cron schedule is next due: at each minute that the clocks of its zone show as it says.

So what falls into an hour that the clocks skip is not run that day, and what falls into an hour that they
repeat is run twice.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones
"""

import math
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from sampan.kinds.parts.cron_schedule import Schedule

YEARS = 5  # what is not due until then never is
_DAY = timedelta(days=1)


@lru_cache(maxsize=1024)
def next_after(schedule: Schedule, after: float, zone: tzinfo = UTC) -> float | None:
    """The first time (unix seconds) later than `after` at which it is due; None when there is none in five years."""
    if schedule.every_seconds:
        return math.floor(after) + schedule.every_seconds
    first = (math.floor(after) // 60 + 1) * 60
    try:
        return _first(schedule, first, zone)
    except (OverflowError, ValueError):  # after the last year that there is
        return None


def _first(schedule: Schedule, first: int, zone: tzinfo) -> float | None:
    start = datetime.fromtimestamp(first, zone)
    day: date | None = start.date()
    while day is not None and day.year <= start.year + YEARS:
        if day.month not in schedule.months:
            day = _next_month(day)
            continue
        if schedule.takes_day(day.day, day.isoweekday() % 7):
            found = _first_on(day, first, schedule, zone)
            if found is not None:
                return found
        day = day + _DAY
    return None


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _first_on(day: date, first: int, schedule: Schedule, zone: tzinfo) -> float | None:
    """The first due time of a day that is not before `first`."""
    begins, ends = _midnight(day, zone), _midnight(day + _DAY, zone)
    if begins.utcoffset() != ends.utcoffset():
        return _first_by_minutes(day, first, schedule, zone)
    midnight = round(begins.timestamp())
    earliest = max(first - midnight, 0) // 60
    for hour in sorted(h for h in schedule.hours if h >= earliest // 60):
        for minute in sorted(schedule.minutes):
            if hour * 60 + minute >= earliest:
                return float(midnight + hour * 3600 + minute * 60)
    return None


def _first_by_minutes(day: date, first: int, schedule: Schedule, zone: tzinfo) -> float | None:
    """On a day on which the clocks change: what they show at each minute of it."""
    around = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    for moment in range(max(first, around - 86400), around + 2 * 86400, 60):
        shown = datetime.fromtimestamp(moment, zone)
        if shown.date() == day and shown.hour in schedule.hours and shown.minute in schedule.minutes:
            return float(moment)
    return None


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)
