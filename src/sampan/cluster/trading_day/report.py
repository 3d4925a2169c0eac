"""Report: a trading day in words and charts, and in figures for programs. Pure."""

import textwrap
from collections.abc import Iterator
from typing import Any

from sampan.cluster.trading_day import charts, curve, figures
from sampan.cluster.trading_day.figures import BAD, GOOD, Record
from sampan.cluster.trading_day.scenes import BAD_NAMES

WIDTH, LEAST_WIDTH = 100, 64
HEIGHT = 8
POD_HEIGHT = 4
MARKS = tuple((curve.moment(hour, 0), f"{hour}:00") for hour in range(10, 16))
SIGNS = {GOOD: "✓", BAD: "✗"}
_LABEL = 11


def text(record: Record, width: int = WIDTH) -> str:
    """The whole report. `width` is in characters."""
    return "\n".join(line.rstrip() for line in _lines(record, max(width, LEAST_WIDTH)))


def _lines(record: Record, width: int) -> Iterator[str]:
    if not record.samples:
        yield "The trading day had not begun."
        return
    took = sum(sample.seconds for sample in record.samples)
    pace = "" if record.day.is_genuine else f", in {figures.span(took)}"
    yield f"A trading day: {curve.clock(0)} to {curve.clock(min(record.samples[-1].share, 1.0))} in Shanghai{pace}"
    yield ""
    yield from chart(record, width)
    yield ""
    yield "What happened"
    for each in record.happenings:
        yield from said(each, width)
    yield ""
    yield "What was promised"
    for check in figures.checks(record):
        sign = SIGNS[GOOD if check.is_met else BAD]
        yield from _wrapped(f"  {sign} {check.title:<38} ", check.said, width)
    yield ""
    yield "In figures"
    for title, told in _figures(record):
        yield from _wrapped(f"    {title:<16}", told, width)


def chart(record: Record, width: int) -> Iterator[str]:
    """Orders a second over pods, hour by hour."""
    room = width - _LABEL - 3
    offered = charts.columns([(s.share, s.offered) for s in record.samples], room)
    rows = charts.area(offered, record.peak, HEIGHT)
    for index, row in enumerate(rows):
        label = {0: f"{record.peak:.0f}", HEIGHT // 2: f"{record.peak / 2:.0f}"}.get(index, "")
        yield f"  {label:>{_LABEL - 2}} │{row}"
    ticks, names = charts.axis(room, MARKS)
    yield f"  {'orders/s':>{_LABEL - 2}} └{ticks}"
    pods = charts.columns([(s.share, float(s.pods)) for s in record.samples], room)
    most = max((s.pods for s in record.samples), default=1) or 1
    for index, row in enumerate(charts.area(pods, most, POD_HEIGHT)):
        yield f"  {str(most) if index == 0 else '':>{_LABEL - 2}} │{row}"
    yield f"  {'pods':>{_LABEL - 2}} └{ticks}"
    yield f"  {'':>{_LABEL - 2}}  {names}"


def said(happening: figures.Happening, width: int) -> Iterator[str]:
    """One happening, on as many lines as it needs."""
    sign = SIGNS.get(happening.mark, " ")
    return _wrapped(f"  {sign} {curve.clock(happening.share)}  ", happening.text, width)


def _wrapped(begin: str, told: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(told, max(width - len(begin), 20), break_on_hyphens=False) or [""]
    yield begin + lines[0]
    for line in lines[1:]:
        yield " " * len(begin) + line


def _figures(record: Record) -> Iterator[tuple[str, str]]:
    found = figures.orders(record.samples)
    total = found.answered + found.failed + found.bad
    names = " and ".join(sorted(BAD_NAMES))
    yield "orders", f"{total:,}: {found.answered:,} answered, {found.failed} failed, {found.late} late (over a second)"
    share = f", one in {total // found.bad:,}" if found.bad else ""
    yield "", f"{found.bad} answered badly by {names} itself, until it was rolled back{share}"
    busiest = max(record.samples, key=lambda sample: sample.offered)
    yield (
        "latency",
        f"p99 {figures.milliseconds(busiest.taken.p99)} at the peak, {figures.milliseconds(found.worst)} at worst",
    )
    used, fixed = figures.pod_seconds(record) / 3600, figures.fixed_pod_seconds(record) / 3600
    yield "pod-hours", f"{used:.2f}; {record.fixed_pods} pods all day would have been {fixed:.2f}"
    least, most = min(s.pods for s in record.samples), max(s.pods for s in record.samples)
    yield "pods", f"{least} to {most}"


def tree(record: Record) -> dict[str, Any]:
    """The same for programs."""
    found, peak = figures.orders(record.samples), figures.orders(figures.at_peak(record))
    return {
        "isSuccess": figures.is_success(record),
        "checks": [{"title": c.title, "isMet": c.is_met, "said": c.said} for c in figures.checks(record)],
        "orders": _orders(found),
        "peak": _orders(peak),
        "podSeconds": round(figures.pod_seconds(record), 3),
        "fixedPodSeconds": round(figures.fixed_pod_seconds(record), 3),
        "happenings": [{"clock": curve.clock(h.share), "mark": h.mark, "text": h.text} for h in record.happenings],
        "samples": [
            {
                "clock": curve.clock(sample.share),
                "seconds": round(sample.seconds, 3),
                "offered": round(sample.offered, 3),
                "answered": sample.taken.answered,
                "failedBy": dict(sample.taken.failed_by),
                "late": sample.taken.late,
                "p50": sample.taken.p50,
                "p99": sample.taken.p99,
                "pods": {"all": sample.pods, "ready": sample.ready, "wanted": sample.wanted},
                "bounds": [sample.least, sample.most],
                "weight": sample.weight,
            }
            for sample in record.samples
        ],
    }


def _orders(found: figures.Orders) -> dict[str, Any]:
    return {
        "answered": found.answered,
        "failed": found.failed,
        "answeredBadly": found.bad,
        "late": found.late,
        "worstP99": found.worst,
    }
