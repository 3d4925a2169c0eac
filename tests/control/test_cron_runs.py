"""Which run is due: the most recent one that is not made yet, however many were missed."""

import zoneinfo
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.control import cron_runs
from sampan.meta import timestamps

BEGIN = timestamps.parse("2026-01-01T00:00:00Z")


def cron_job(schedule: str, last: float | None = None, **spec: Any) -> dict[str, Any]:
    """Created at the beginning of 2026."""
    metadata = {"name": "c", "creationTimestamp": timestamps.format(BEGIN)}
    status = {} if last is None else {"lastScheduleTime": timestamps.format(last)}
    return {"metadata": metadata, "spec": {"schedule": schedule} | spec, "status": status}


@given(
    step=st.sampled_from((1, 2, 5, 10, 30)),
    last=st.one_of(st.none(), st.integers(0, 2000)),
    later=st.floats(0, 3 * 86400),
    deadline=st.one_of(st.none(), st.integers(0, 7200)),
)
@settings(max_examples=100, deadline=None)
def test_the_most_recent_run_is_due(step: int, last: int | None, later: float, deadline: int | None) -> None:
    """Of an even schedule: the last multiple of its step, unless that was made or is older than the deadline."""
    seconds = step * 60
    since = BEGIN + (last or 0) // step * seconds
    now = since + later
    obj = cron_job(f"*/{step} * * * *", None if last is None else since)
    if deadline is not None:
        obj["spec"]["startingDeadlineSeconds"] = deadline
    since = since if last is not None else BEGIN
    timing = cron_runs.timing(obj)
    found = cron_runs.missed(obj, timing, now)
    expected = now // seconds * seconds
    earliest = since if deadline is None else max(since, now - deadline)
    assert found.latest == (expected if expected > earliest else None)
    missed = expected // seconds - earliest // seconds
    assert (found.count > cron_runs.MANY) == (missed > cron_runs.MANY)
    following = expected + seconds if expected > since else since + seconds
    assert cron_runs.seconds_to_next(obj, timing, now) == pytest.approx(following + 0.1 - now, abs=1e-3)


def test_a_run_before_a_long_pause_is_not_made_up_for() -> None:
    """Weekdays from six to four every four hours: upstream's estimate, by the first two runs, looks in the pause."""
    friday, monday = timestamps.parse("2026-01-02T06:30:00Z"), timestamps.parse("2026-01-05T05:00:00Z")
    obj = cron_job("30 6-16/4 * * 1-5", friday)
    timing = cron_runs.timing(obj)
    assert cron_runs.missed(obj, timing, monday) == cron_runs.Missed(friday, None, 17)
    assert cron_runs.seconds_to_next(obj, timing, monday) == pytest.approx(5400.1)
    late = timestamps.parse("2026-01-05T12:00:00Z")
    assert cron_runs.missed(obj, timing, late).latest == timestamps.parse("2026-01-05T10:30:00Z")


def test_a_run_keeps_its_name_and_shows_the_time_of_its_zone() -> None:
    """Minutes since 1970, and Z where the clocks show UTC."""
    scheduled = timestamps.parse("2026-01-15T12:34:00Z")
    assert cron_runs.job_name(cron_job("* * * * *"), scheduled + 59) == f"c-{int(scheduled) // 60}"
    assert cron_runs.scheduled_text(scheduled, UTC) == "2026-01-15T12:34:00Z"
    assert cron_runs.scheduled_text(scheduled, zoneinfo.ZoneInfo("Europe/London")) == "2026-01-15T12:34:00Z"
    assert cron_runs.scheduled_text(scheduled, zoneinfo.ZoneInfo("Asia/Tokyo")) == "2026-01-15T21:34:00+09:00"
