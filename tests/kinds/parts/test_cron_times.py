"""Cron schedules: what they mean, by an oracle that asks of every minute whether the clocks show what is wanted."""

import zoneinfo
from datetime import UTC, datetime, tzinfo
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.kinds.parts import cron_schedule, cron_times
from sampan.meta import timestamps

DAYS, MONTHS = cron_schedule.DAYS, cron_schedule.MONTHS
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu")
MINUTE = 60
AT_MOST = 2 * 24 * 60  # minutes that the oracle looks ahead


# The oracle: a field is read anew, number by number


def shows(text: str, number: int, low: int, high: int, names: tuple[str, ...] = ()) -> bool:
    """Whether a field takes a number."""
    return any(_part_shows(part, number, low, high, names) for part in text.lower().split(","))


def _part_shows(part: str, number: int, low: int, high: int, names: tuple[str, ...]) -> bool:
    whole, slash, step = part.partition("/")
    if whole in "*?":
        first, last = low, high
    else:
        ends = [names.index(end) + low if end in names else int(end) for end in whole.split("-")]
        first, last = ends[0], high if slash and len(ends) == 1 else ends[-1]
    return first <= number <= last and (number - first) % int(step or 1) == 0


def is_due(fields: list[str], local: datetime) -> bool:
    """Whether a minute is one of the schedule's."""
    minute, hour, day, month, weekday = fields
    on_day = shows(day, local.day, 1, 31)
    on_weekday = shows(weekday, local.isoweekday() % 7, 0, 6, DAYS)
    has_star = any(part[0] in "*?" and part[1:] in ("", "/1") for field in (day, weekday) for part in field.split(","))
    return (
        shows(minute, local.minute, 0, 59)
        and shows(hour, local.hour, 0, 23)
        and shows(month, local.month, 1, 12, MONTHS)
        and (on_day and on_weekday if has_star else on_day or on_weekday)
    )


def first_due(fields: list[str], after: int, zone: tzinfo) -> int | None:
    """The first due minute later than `after`, as far as the oracle looks."""
    start = (after // MINUTE + 1) * MINUTE
    for moment in range(start, start + AT_MOST * MINUTE, MINUTE):
        if is_due(fields, datetime.fromtimestamp(moment, zone)):
            return moment
    return None


def field(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Texts of one field: stars, numbers, names, ranges, steps, lists."""
    number = st.integers(low, high)
    ends = st.tuples(number, number).map(sorted)
    plain = number.map(str) if not names else number.map(lambda n: names[n - low].upper())
    step = st.integers(1, high + 2)
    ranges = ends.map(lambda e: f"{e[0]}-{e[1]}")
    stepped = st.tuples(st.one_of(st.just("*"), number.map(str), ranges), step).map(lambda p: f"{p[0]}/{p[1]}")
    part = st.one_of(st.just("*"), st.just("?"), plain, number.map(str), ranges, stepped)
    return st.lists(part, min_size=1, max_size=3).map(",".join)


SCHEDULES = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 6, DAYS))
CHANGES = (
    "2026-03-08T00:00:00Z",
    "2026-11-01T00:00:00Z",
    "2026-03-28T20:00:00Z",
    "2026-10-24T20:00:00Z",
    "2026-04-04T",
)
MOMENTS = st.one_of(
    st.integers(1_767_225_600, 1_767_225_600 + 5 * 365 * 86400),
    st.tuples(st.sampled_from(CHANGES), st.integers(0, 36 * 3600)).map(
        lambda p: int(timestamps.parse(p[0] if p[0].endswith("Z") else p[0] + "12:00:00Z")) + p[1]
    ),
)


@pytest.mark.slow
@given(fields=SCHEDULES, after=MOMENTS, zone=st.sampled_from(ZONES))
@settings(max_examples=60, deadline=None)
def test_the_next_run_is_the_first_minute_that_fits(fields: tuple[str, ...], after: int, zone: str) -> None:
    """For any schedule, from any second, also on the days on which the clocks change."""
    there = zoneinfo.ZoneInfo(zone)
    found = cron_times.next_after(cron_schedule.parse(" ".join(fields)), after, there)
    expected = first_due(list(fields), after, there)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or found > after + AT_MOST * MINUTE
        assert found is None or is_due(list(fields), datetime.fromtimestamp(found, there))


NEW_YORK = [
    # the clocks skip 02:00 to 03:00 on 2026-03-08
    ("2026-03-08T00:00:00-05:00", "30 2 8 3 *", "2027-03-08T02:30:00-05:00"),
    ("2026-03-08T00:00:00-05:00", "0 2 * * *", "2026-03-09T02:00:00-04:00"),
    ("2026-03-08T01:00:00-05:00", "0 * * * *", "2026-03-08T03:00:00-04:00"),
    # and repeat 01:00 to 02:00 on 2026-11-01
    ("2026-11-01T00:00:00-04:00", "0 1 * * *", "2026-11-01T01:00:00-04:00"),
    ("2026-11-01T01:00:00-04:00", "0 1 * * *", "2026-11-01T01:00:00-05:00"),
    ("2026-11-01T01:00:00-05:00", "0 1 * * *", "2026-11-02T01:00:00-05:00"),
    ("2026-11-01T01:45:00-04:00", "30 1 1 11 *", "2026-11-01T01:30:00-05:00"),
    ("2026-11-01T00:00:00-04:00", "30 2 1 11 *", "2026-11-01T02:30:00-05:00"),
]


@pytest.mark.parametrize(("after", "schedule", "expected"), NEW_YORK)
def test_a_skipped_hour_is_left_out_and_a_repeated_one_runs_twice(after: str, schedule: str, expected: str) -> None:
    """As upstream's own tests have it."""
    zone = zoneinfo.ZoneInfo("America/New_York")
    found = cron_times.next_after(cron_schedule.parse(schedule), timestamps.parse(after), zone)
    assert found == timestamps.parse(expected)


WORDS = [
    ("@hourly", "2026-01-01T11:00:00Z"),
    ("@daily", "2026-01-02T00:00:00Z"),
    ("@midnight", "2026-01-02T00:00:00Z"),
    ("@weekly", "2026-01-04T00:00:00Z"),
    ("@monthly", "2026-02-01T00:00:00Z"),
    ("@yearly", "2027-01-01T00:00:00Z"),
    ("@every 5m", "2026-01-01T10:22:33Z"),
    ("@every 1h30m10s", "2026-01-01T11:47:43Z"),
    ("@every 100ms", "2026-01-01T10:17:34Z"),
    ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
    ("0 0 13 * FRI", "2026-01-02T00:00:00Z"),
    ("0 0 13 * */2", "2026-01-03T00:00:00Z"),
    ("0 0 13 * *", "2026-01-13T00:00:00Z"),
    ("0 0 */2 * 3", "2026-01-03T00:00:00Z"),
]


@pytest.mark.parametrize(("schedule", "expected"), WORDS)
def test_words_and_days(schedule: str, expected: str) -> None:
    """Both day fields count where one is a star, else either; a step makes a star none any more."""
    found = cron_times.next_after(cron_schedule.parse(schedule), timestamps.parse("2026-01-01T10:17:33.9Z"), UTC)
    assert found == timestamps.parse(expected)


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "0 0 30 2 ?", ", 0 * * *", "0 0 31 4,6,9,11 *"])
def test_what_never_comes_has_no_next_run(schedule: str) -> None:
    """Found out by looking at five years."""
    assert cron_times.next_after(cron_schedule.parse(schedule), timestamps.parse("2026-01-01T00:00:00Z"), UTC) is None


def test_a_leap_day_is_too_far_where_a_century_has_none() -> None:
    """From 2096 it is eight years to the next one: upstream looks no further than five."""
    after: Any = timestamps.parse("2096-03-01T00:00:00Z")
    assert cron_times.next_after(cron_schedule.parse("0 0 29 2 *"), after, UTC) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1d", 'unknown unit "d" in duration "1d"'),
        ("1m 2s", 'unknown unit "m " in duration "1m 2s"'),
        ("1h1mm", 'unknown unit "mm" in duration "1h1mm"'),
        ("5", 'missing unit in duration "5"'),
        ("x", 'invalid duration "x"'),
        ("-", 'invalid duration "-"'),
    ],
)
def test_a_wrong_duration_is_told_as_go_tells_it(text: str, fault: str) -> None:
    """Which unit is unknown or missing; there are no days."""
    with pytest.raises(ValueError, match="failed to parse duration") as refused:
        cron_schedule.parse(f"@every {text}")
    assert str(refused.value) == f"failed to parse duration @every {text}: time: {fault}"
