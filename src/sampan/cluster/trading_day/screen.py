"""Screen: a trading day while it goes on, as lines of text; with colours only for those who can show them. Pure."""

from collections.abc import Iterator

from sampan.cluster.trading_day import charts, curve, figures, report
from sampan.cluster.trading_day.figures import BAD, GOOD, Record, Sample

LEAST_WIDTH, LEAST_HEIGHT = 78, 16
RED, GREEN, YELLOW, BLUE, FAINT, BOLD, PLAIN = (f"\x1b[{code}m" for code in (31, 32, 33, 34, 2, 1, 0))
_TITLE, _LABEL = 10, 6
_FIXED_LINES = 10
"""All but the chart's rows and what happened."""
_RECENT_SECONDS = 10.0


def lines(record: Record, width: int = 100, height: int = 24, *, colour: bool = False) -> list[str]:
    """At most so many lines, none longer than `width` characters as it is shown (of which it takes 78 at least)."""
    width, height = max(width, LEAST_WIDTH), max(height, LEAST_HEIGHT)
    rows = min(max((height - _FIXED_LINES) // 2, 3), 10)
    drawn = [*_top(record, width, rows), *_now(record, width)]
    room = height - len(drawn) - 1
    latest = _latest(record, width, room)
    shown = [*drawn, "", *latest]
    return shown if colour else [bare(text) for text in shown]


def plain(record: Record) -> str:
    """The newest sample in one line, for those who can't draw."""
    if not record.samples:
        return f"{curve.clock(0)}  not begun"
    sample = record.samples[-1]
    found = figures.orders(_recent(record))
    parts = [
        curve.clock(sample.share),
        f"{sample.offered:4.0f} orders/s",
        f"{_per_second(record, found.answered):4.0f} answered",
        f"{figures.orders(record.samples).failed} failed so far",
        f"p99 {figures.milliseconds(found.worst)}",
        f"{sample.ready} of {sample.pods} pods ready (bounds {sample.least} to {sample.most})",
    ]
    canary = [f"canary {sample.weight} %"] if sample.weight else []
    return "  ".join([*parts, *canary])


def bare(text: str) -> str:
    """Without colours."""
    for code in (RED, GREEN, YELLOW, BLUE, FAINT, BOLD, PLAIN):
        text = text.replace(code, "")
    return text


# The day so far


def _top(record: Record, width: int, rows: int) -> Iterator[str]:
    """The head line, and the day's orders: those to come are faint."""
    share = record.samples[-1].share if record.samples else 0.0
    left = max((1 - share) * record.day.seconds, 0.0)
    state = f"{figures.span(left)} to go" if left else "the exchange has closed"
    head = f" The trading day   {curve.clock(min(share, 1.0))} in Shanghai"
    yield f"{BOLD}{head}{PLAIN}{FAINT}{state:>{width - len(head) - 1}}{PLAIN}"
    room = width - _LABEL - 3
    middles = [(index + 0.5) / room for index in range(room)]
    past = min(max(int(share * room) + 1, 0), room)
    drawn = charts.area([curve.rate(middle, record.peak) for middle in middles], record.peak, rows)
    for index, row in enumerate(drawn):
        label = {0: f"{record.peak:.0f}", rows // 2: f"{record.peak / 2:.0f}"}.get(index, "")
        yield f"{FAINT}{label:>{_LABEL}} │{PLAIN}{GREEN}{row[:past]}{PLAIN}{FAINT}{_dotted(row[past:])}{PLAIN}"
    ticks, names = charts.axis(room, report.MARKS)
    yield f"{FAINT}{'0':>{_LABEL}} └{ticks}{PLAIN}"
    yield f"{FAINT}{'':>{_LABEL}}  {names}{PLAIN}"


def _dotted(row: str) -> str:
    """What is only expected."""
    return "".join(" " if block == " " else "░" for block in row)


# Now


def _now(record: Record, width: int) -> Iterator[str]:
    sample = record.samples[-1] if record.samples else Sample(0.0, 0.0, curve.rate(0.0, record.peak))
    found, whole = figures.orders(_recent(record)), figures.orders(record.samples)
    served = _per_second(record, found.answered)
    colour = RED if whole.failed else GREEN
    yield _row(
        "orders", f"{sample.offered:.0f}/s offered   {served:.0f}/s answered   {colour}{whole.failed} failed{PLAIN}"
    )
    latency = f"p50 {figures.milliseconds(_median(record))}   p99 {figures.milliseconds(found.worst)}"
    yield _row("latency", f"{latency}   {FAINT}{whole.late} of {whole.answered:,} orders took over a second{PLAIN}")
    bar = charts.bar(sample.ready, sample.pods, max((max(s.most, s.pods) for s in record.samples), default=0))
    told = f"{sample.ready} ready, {sample.wanted} wanted, between {sample.least} and {sample.most}"
    yield _row("pods", f"{BLUE}{bar}{PLAIN} {told}")
    used, fixed = figures.pod_seconds(record), figures.fixed_pod_seconds(record)
    share = f"{used / fixed:.0%} of {record.fixed_pods} pods all day" if fixed else "none yet"
    yield _row("pod-hours", f"{used / 3600:.2f}   {FAINT}{share}{PLAIN}")
    whole_bar = charts.bar(round(sample.weight / 5), 0, 20)
    bad = f"   {RED}{whole.bad} answered badly{PLAIN}" if whole.bad else ""
    yield _row("canary", f"{YELLOW}{whole_bar}{PLAIN} {sample.weight} % of the orders{bad}")


def _row(title: str, told: str) -> str:
    return f" {FAINT}{title:<{_TITLE}}{PLAIN} {told}"


def _recent(record: Record) -> list[Sample]:
    """The samples of the last ten seconds; one at least, where there is any."""
    found: list[Sample] = []
    for sample in reversed(record.samples):
        found.append(sample)
        if sum(each.seconds for each in found) >= _RECENT_SECONDS:
            break
    return found


def _per_second(record: Record, count: int) -> float:
    seconds = sum(sample.seconds for sample in _recent(record))
    return count / seconds if seconds else 0.0


def _median(record: Record) -> float | None:
    return next((sample.taken.p50 for sample in reversed(record.samples) if sample.taken.p50), None)


# What happened


def _latest(record: Record, width: int, room: int) -> list[str]:
    """The newest at the bottom, each in one line."""
    colours = {GOOD: GREEN, BAD: RED}
    found = []
    for each in record.happenings[-max(room, 1) :]:
        begin = f" {report.SIGNS.get(each.mark, ' ')} {curve.clock(each.share)}  "
        told = each.text if len(begin + each.text) <= width else each.text[: width - len(begin) - 1] + "…"
        found.append(f"{colours.get(each.mark, '')}{begin}{told}{PLAIN}")
    return found
