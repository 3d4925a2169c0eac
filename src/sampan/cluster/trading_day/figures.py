"""Figures: what was seen of a trading day, what that comes to, and whether it is what was promised. Pure.

Orders that the bad version itself answered badly are counted apart, and told.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sampan.cluster.trading_day import curve, scenes
from sampan.cluster.trading_day.curve import Day

PEAK_SHARE = 0.9
"""From so much of the peak's rate on it is the peak."""
NORMAL, GOOD, BAD = "normal", "good", "bad"


@dataclass(frozen=True, slots=True)
class Taken:
    """Orders that came to an end within a while. Of those that failed, how many by which version; "" for no answer of any.

    `late` were answered, but after more than a second. The quantiles are seconds, None without orders.
    """

    answered: int = 0
    failed_by: Mapping[str, int] = field(default_factory=dict)
    late: int = 0
    p50: float | None = None
    p99: float | None = None

    @property
    def failed(self) -> int:
        return sum(self.failed_by.values())


@dataclass(frozen=True, slots=True)
class Sample:
    """How it was at a share of the day; `taken` since the one before, `seconds` ago.

    `pods` are all that take room, `ready` those that serve, `wanted` as many as the rollout is to have; `weight` the
    canary's share in percent; `least` and `most` the autoscaler's bounds.
    """

    share: float
    seconds: float
    offered: float
    taken: Taken = Taken()
    pods: int = 0
    ready: int = 0
    wanted: int = 0
    weight: int = 0
    least: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that people should read; `mark` is whether it is NORMAL, GOOD or BAD news."""

    share: float
    text: str
    mark: str = NORMAL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scene."""

    title: str
    expected: str
    came: str

    @property
    def is_right(self) -> bool:
        return self.came == self.expected


@dataclass(slots=True)
class Record:
    """A day as far as it has gone. `per_pod` is how many orders a second are meant for a pod."""

    day: Day
    peak: float = curve.PEAK_PER_SECOND
    per_pod: float = 16.0
    samples: list[Sample] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def fixed_pods(self) -> int:
        """As many as the peak needs at the same measure, if they were there all day."""
        return math.ceil(self.peak / self.per_pod)


@dataclass(frozen=True, slots=True)
class Orders:
    """Sums over some samples. `failed` are those that nobody's bad release is to blame for; `worst` is the highest p99 of a sample."""

    offered: float
    answered: int
    failed: int
    bad: int
    late: int
    worst: float


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, whether it was kept, and what that is said by."""

    title: str
    is_met: bool
    said: str


def orders(samples: Iterable[Sample]) -> Orders:
    """What came of all orders in these samples."""
    found = list(samples)
    failures = [(version, count) for each in found for version, count in each.taken.failed_by.items()]
    return Orders(
        offered=sum(each.offered * each.seconds for each in found),
        answered=sum(each.taken.answered for each in found),
        failed=sum(count for version, count in failures if version not in scenes.BAD_NAMES),
        bad=sum(count for version, count in failures if version in scenes.BAD_NAMES),
        late=sum(each.taken.late for each in found),
        worst=max((each.taken.p99 or 0.0 for each in found), default=0.0),
    )


def at_peak(record: Record) -> list[Sample]:
    """The samples of the peak."""
    return [each for each in record.samples if each.offered >= PEAK_SHARE * record.peak]


def pod_seconds(record: Record) -> float:
    """Room taken, whether the pod served yet or still, times how long."""
    return sum(each.pods * each.seconds for each in record.samples)


def fixed_pod_seconds(record: Record) -> float:
    """The same for a fleet of the peak's size."""
    return record.fixed_pods * sum(each.seconds for each in record.samples)


def checks(record: Record) -> tuple[Check, ...]:
    """All that was promised of a day."""
    return tuple(_checks(record))


def is_success(record: Record) -> bool:
    return all(check.is_met for check in checks(record))


def _checks(record: Record) -> Iterator[Check]:
    peak, whole = orders(at_peak(record)), orders(record.samples)
    valley = min((each.offered for each in record.samples), default=0.0)
    most = max((each.offered for each in record.samples), default=0.0)
    times = most / valley if valley else 0.0
    yield Check(
        "the peak is 20 times the valley",
        abs(times - 20) < 0.5,
        f"{valley:.0f} to {most:.0f} orders a second, in {_rise(record)}",
    )
    served = f"{peak.failed} of {peak.answered + peak.failed + peak.bad:,} failed"
    said = f"{served}; p99 at most {milliseconds(peak.worst)}" if peak.answered else "there was no order"
    yield Check("no order fails at the peak", peak.failed == 0 and peak.answered > 0, said)
    yield Check(
        "no order fails all day",
        whole.failed == 0 and whole.answered > 0,
        f"{whole.failed} of {whole.answered:,} answered",
    )
    used, fixed = pod_seconds(record), fixed_pod_seconds(record)
    share = used / fixed if fixed else 1.0
    yield Check(
        "at most half of the fixed pod-hours",
        share <= 0.5,
        f"{share:.0%} of {record.fixed_pods} pods, which the peak needs, all day",
    )
    for scene in scenes.SCENES:
        came = next((outcome.came for outcome in record.outcomes if outcome.title == scene.title), "")
        yield Check(_promise(scene), came == scene.expected, came or "it did not come to that")


def _promise(scene: scenes.Scene) -> str:
    if isinstance(scene.act, scenes.DeleteNamespace):
        return "the namespace can't be deleted"
    version = scene.act.version
    return (
        f"{version.name}, which is bad, goes back by itself"
        if version.is_bad
        else f"{version.name}, which is good, stays"
    )


def _rise(record: Record) -> str:
    """How long the opening takes from a tenth above the valley to the peak."""
    low = next((s for s in record.samples if s.offered > 1.1 * record.peak / 20), None)
    high = next((s for s in record.samples if s.offered >= 0.99 * record.peak), None)
    if low is None or high is None:
        return "no time"
    return span((high.share - low.share) * record.day.seconds)


def span(seconds: float) -> str:
    """For people: 6 h 30 min, 5 min 10 s, 8 s."""
    whole = round(seconds)
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    parts = ((hours, "h"), (minutes, "min"), (left, "s"))
    shown = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or "0 s"


def milliseconds(seconds: float | None) -> str:
    """For people; "-" where there is nothing to tell."""
    return "-" if not seconds else f"{seconds * 1000:.0f} ms" if seconds < 9.9995 else f"{seconds:.1f} s"
