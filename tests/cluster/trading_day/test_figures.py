"""The pure parts of the trading day: curve, schedule, figures, report and screen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sampan.cluster.trading_day import charts, curve, figures, manifests, report, scenes, screen
from sampan.cluster.trading_day.curve import Day
from sampan.cluster.trading_day.figures import GOOD, Happening, Outcome, Record, Sample, Taken
from sampan.platform.elastic import cron_schedules

EXAMPLE = Path(__file__).parents[3] / "examples" / "trading-day"
SHARES = [index / 3900 for index in range(3901)]
MORNING = 1767315600.0
"""Friday, 2 January 2026, 09:00 in Shanghai."""


def record(**changes: Any) -> Record:
    """A day on which everything went as it should: two pods but for ten at the opening."""
    samples = []
    for index in range(391):
        offered = curve.rate(index / 390)
        pods = 10 if 12 <= index < 60 else 2
        taken = Taken(round(offered * 60), {}, 0, 0.08, 0.2)
        samples.append(Sample(index / 390, 60.0, offered, taken, pods, pods, pods, 0, 2, 14))
    done = [Outcome(scene.title, scene.expected, scene.expected) for scene in scenes.SCENES]
    made = Record(Day(MORNING), 160.0, 16.0, samples, [Happening(0.5, "all is well", GOOD)], done)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def with_taken(day: Record, index: int, taken: Taken) -> Record:
    """The same day with other orders at one minute of it."""
    day.samples[index] = replace(day.samples[index], taken=taken)
    return day


def unmet(day: Record) -> list[str]:
    return [check.title for check in figures.checks(day) if not check.is_met]


def test_the_peak_is_twenty_times_the_valley() -> None:
    """Exactly, before and after the day it is quiet, and the opening takes minutes."""
    rates = [curve.rate(share) for share in SHARES]
    assert (min(rates), max(rates)) == (8.0, 160.0)
    assert curve.rate(-1.0) == curve.rate(1.0) == curve.rate(7.0) == 8.0
    first = next(share for share in SHARES if curve.rate(share) >= 160.0)
    last = max(share for share in SHARES if share < first and curve.rate(share) <= 8.0)
    assert (first - last) * curve.MINUTES < 10
    assert max(abs(a - b) for a, b in zip(rates, rates[1:], strict=False)) < 8, "it jumps nowhere"


def test_clocks_are_the_exchanges() -> None:
    """In its own time and squeezed; and only its own days are genuine."""
    assert [curve.clock(share) for share in (0.0, curve.moment(9, 36), 1.0)] == ["09:00", "09:36", "15:30"]
    assert Day(MORNING).is_genuine
    assert not Day(MORNING + 86400).is_genuine, "a Saturday"
    assert not Day(MORNING + 1).is_genuine
    assert not Day(MORNING, 600.0).is_genuine
    assert Day(100.0, 200.0).at(Day(100.0, 200.0).share(150.0)) == 150.0


def times(day: Day) -> dict[str, float | None]:
    """When the schedule's jobs are due, in seconds of the day."""
    (found,) = manifests.schedule(manifests.read(EXAMPLE), day)
    begins = day.begins - 60
    due = {job["name"]: cron_schedules.parse(job["schedule"]).next_after(begins) for job in found["spec"]["jobs"]}
    return {name: None if at is None else at - day.begins for name, at in due.items()}


def test_a_genuine_day_takes_the_schedule_as_it_stands() -> None:
    """Its jobs come at their times in Shanghai."""
    found = times(Day(MORNING))
    assert found["before-open"] == 12 * 60
    assert found["before-close"] == (5 * 60 + 28) * 60


@pytest.mark.parametrize("seconds", [120.0, 240.0, 600.0, 7200.0])
def test_a_squeezed_day_keeps_the_time_that_containers_need(seconds: float) -> None:
    """The jobs come after the beginning of the play, and well ahead of the rush."""
    day = curve.day(MORNING + 0.4, seconds)
    found = times(day)
    opening = curve.OPENING_MINUTE / curve.MINUTES * seconds
    assert found["before-open"] is not None
    assert found["before-open"] >= MORNING + 1 - day.begins
    assert opening - found["before-open"] >= curve.LEAD_SECONDS - 1
    assert found["after-open"] == pytest.approx(curve.moment(9, 42) * seconds, abs=1.1)


def test_a_release_changes_nothing_but_the_version() -> None:
    """What the bad one brought, the mended one takes back; what is not a plain value stays."""
    (rollout,) = [obj for obj in manifests.read(EXAMPLE) if obj["kind"] == "Rollout"]
    before = rollout["spec"]["template"]["spec"]["containers"][0]["env"]
    (bad,) = manifests.released(before, scenes.BAD)
    (mended,) = manifests.released(bad["value"], scenes.MENDED)
    assert {e["name"]: e.get("value") for e in bad["value"]}["FAIL_SHARE"] == "0.5"
    assert {e["name"]: e.get("value") for e in mended["value"]} == {e["name"]: e.get("value") for e in before} | {
        "VERSION": "v3"
    }
    assert mended["value"][-1] == before[-1]


def test_a_good_day_keeps_all_promises() -> None:
    """And its share of the fixed size is what the pods come to."""
    day = record()
    assert unmet(day) == []
    assert figures.is_success(day)
    assert day.fixed_pods == 10
    assert figures.pod_seconds(day) == 60 * (48 * 10 + 343 * 2)


def test_each_promise_can_be_broken() -> None:
    """By a failed order at the peak, or elsewhere; by too many pods; by each scene that ends otherwise; by no orders at all."""
    peak = "no order fails at the peak"
    all_day = "no order fails all day"
    assert unmet(with_taken(record(), 35, Taken(9600, {"": 1}))) == [peak, all_day]
    assert unmet(with_taken(record(), 200, Taken(960, {"v1": 1}))) == [all_day]
    many = record(samples=[replace(sample, pods=6) for sample in record().samples])
    assert unmet(many) == ["at most half of the fixed pod-hours"]
    for scene in scenes.SCENES:
        others = [outcome for outcome in record().outcomes if outcome.title != scene.title]
        assert len(unmet(record(outcomes=others))) == 1
        assert len(unmet(record(outcomes=[*others, Outcome(scene.title, scene.expected, "deleted")]))) == 1
    assert len(unmet(Record(Day(0.0)))) == len(figures.checks(Record(Day(0.0))))


def test_what_the_bad_version_answered_is_counted_apart_and_told() -> None:
    """It breaks no promise, and the report has the number."""
    day = with_taken(record(), 170, Taken(900, {"v2": 23}))
    assert unmet(day) == []
    assert "23 answered badly by v2 itself" in report.text(day)
    assert report.tree(day)["orders"]["answeredBadly"] == 23


@pytest.mark.parametrize("width", [80, 100, 140])
def test_nothing_is_wider_than_asked_for(width: int) -> None:
    """Neither the report nor the screen, at any moment of the day."""
    day = record()
    day.happenings.append(Happening(0.6, "a long story " * 30))
    assert max(map(len, report.text(day, width).splitlines())) <= width
    for count in (0, 1, 40, 391):
        part = record(samples=day.samples[:count], happenings=day.happenings)
        drawn = screen.lines(part, width, 24)
        assert max(map(len, drawn)) <= width
        assert len(drawn) <= 24
        assert [screen.bare(text) for text in screen.lines(part, width, 24, colour=True)] == drawn
        assert "\x1b" not in "".join(drawn)


def test_the_screen_tells_how_it_is() -> None:
    """Orders, pods and bounds, the latest news, and a line for those who can't draw."""
    day = record(samples=record().samples[:36])
    text = "\n".join(screen.lines(day))
    assert "160/s offered   160/s answered   0 failed" in text
    assert "10 ready, 10 wanted, between 2 and 14" in text
    assert "✓ 12:15  all is well" in text
    assert screen.plain(day).startswith("09:35   160 orders/s   160 answered  0 failed so far  p99 200 ms")


def test_a_day_that_was_broken_off_is_reported_on() -> None:
    """Also one that had not begun."""
    assert report.text(Record(Day(0.0))) == "The trading day had not begun."
    broken = record(samples=record().samples[:100], outcomes=[])
    assert "it did not come to that" in report.text(broken)
    assert not report.tree(broken)["isSuccess"]


def test_charts() -> None:
    """Columns take the highest value, gaps are as before, and anything above nothing shows."""
    assert charts.columns([(0.0, 1.0), (0.1, 3.0), (0.9, 2.0)], 4) == [3.0, 3.0, 3.0, 2.0]
    assert charts.area([0.0, 0.01, 5.0, 10.0, None], 10.0, 2) == ["   █ ", " ▁██ "]
    assert charts.bar(2, 3, 5) == "██▒··"
