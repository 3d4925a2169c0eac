"""When a job by the clock is due."""

import pytest

from sampan.meta import timestamps
from sampan.platform.elastic import cron_schedules

NOON = "2026-03-04T12:00:00Z"  # a Wednesday


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("*/10 * * * * *", NOON, "2026-03-04T12:00:10Z"),
        ("30 0 9 * * 1", NOON, "2026-03-09T09:00:30Z"),
        ("0 0 9 * *", NOON, "2026-03-05T09:00:00Z"),
        ("5,1 0 12 * * *", NOON, "2026-03-04T12:00:01Z"),
        ("5,1 0 12 * * *", "2026-03-04T12:00:01Z", "2026-03-04T12:00:05Z"),
        ("5,1 0 12 * * *", "2026-03-04T12:00:05Z", "2026-03-05T12:00:01Z"),
        ("0 0 0 */2 * 1", NOON, "2026-03-09T00:00:00Z"),
        ("0 0 0 10 * 1", NOON, "2026-03-09T00:00:00Z"),
        ("@hourly", NOON, "2026-03-04T13:00:00Z"),
        ("@every 90s", NOON, "2026-03-04T12:01:30Z"),
        ("@date 2026-11-11 00:00:01", NOON, "2026-11-11T00:00:01Z"),
        ("@date 2026-01-01 00:00:00", NOON, None),
        ("0 0 0 31 2 *", NOON, None),
        ("TZ=Asia/Shanghai 0 0 8 * * *", NOON, "2026-03-05T00:00:00Z"),
        ("TZ=Asia/Shanghai @date 2026-11-11 08:00:00", NOON, "2026-11-11T00:00:00Z"),
    ],
)
def test_the_next_time(schedule: str, after: str, due: str | None) -> None:
    """Strictly later, to the second; a step among the days of the month still counts as a star beside a weekday."""
    found = cron_schedules.parse(schedule).next_after(timestamps.parse(after))
    assert (timestamps.format(found) if found is not None else None) == due


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ("", "Empty spec string"),
        ("* * * *", "Expected 5 to 6 fields, found 4: * * * *"),
        ("60 * * * * *", "End of range (60) above maximum (59): 60"),
        ("x * * * * *", "Failed to parse int from x: "),
        ("@sometimes", "Unrecognized descriptor: @sometimes"),
        ("@every soon", "Failed to parse duration @every soon: "),
        ("@date tomorrow", "Failed to parse date @date tomorrow: "),
        ("TZ=Nowhere * * * * * *", "Provided bad location Nowhere: unknown time zone Nowhere"),
    ],
)
def test_complaints(schedule: str, complaint: str) -> None:
    """A schedule that can't be read says why."""
    with pytest.raises(ValueError) as found:
        cron_schedules.parse(schedule)
    assert str(found.value).startswith(complaint)


@pytest.mark.parametrize(
    ("schedule", "since", "now", "due"),
    [
        ("0 * * * * *", "2026-03-04T12:00:00Z", "2026-03-04T12:00:59Z", None),
        ("0 * * * * *", "2026-03-04T12:00:00Z", "2026-03-04T12:01:00Z", "2026-03-04T12:01:00Z"),
        ("0 0 9 * * *", "2026-01-01T00:00:00Z", NOON, "2026-03-04T09:00:00Z"),
        ("0 0 9 1 1 *", "2020-01-02T00:00:00Z", NOON, "2026-01-01T09:00:00Z"),
        ("@every 1h", "2026-03-04T11:30:00Z", NOON, None),
    ],
)
def test_the_last_time(schedule: str, since: str, now: str, due: str | None) -> None:
    """Of those that were missed, the latest."""
    found = cron_schedules.parse(schedule).last_due(timestamps.parse(since), timestamps.parse(now))
    assert (timestamps.format(found) if found is not None else None) == due


@pytest.mark.parametrize(
    ("schedule", "at", "is_off"),
    [
        ("* * * 4 3 *", NOON, True),
        ("* * * 4 3 *", "2026-03-04T23:59:59Z", True),
        ("* * * 5 3 *", NOON, False),
        ("* * * * * 3", NOON, True),
        ("0 0 1 4 3 *", NOON, True),
        ("@date 2026-03-04 00:00:00", NOON, True),
    ],
)
def test_days(schedule: str, at: str, is_off: bool) -> None:
    """A day is taken as a whole, however much of it is over."""
    assert cron_schedules.parse(schedule).takes_day(timestamps.parse(at)) is is_off
