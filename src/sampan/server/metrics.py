"""Metrics: what the server counts, and the text in which Prometheus reads it.

Counting costs a look-up and an addition; the text is made only when somebody asks. Names, labels and
buckets are those of the reference server.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

PLAIN = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"

# How far names and labels can be relied on, as upstream promises it. What is in neither is alpha.
_STABLE = (
    "apiserver_admission_controller_admission_duration_seconds", "apiserver_admission_step_admission_duration_seconds",
    "apiserver_admission_webhook_admission_duration_seconds", "apiserver_current_inflight_requests",
    "apiserver_longrunning_requests", "apiserver_request_duration_seconds", "apiserver_request_total",
    "apiserver_requested_deprecated_apis", "apiserver_response_sizes", "apiserver_storage_objects",
    "apiserver_storage_size_bytes", "kubernetes_healthcheck", "kubernetes_healthchecks_total",
    "scheduler_pending_pods", "scheduler_pod_scheduling_attempts", "scheduler_preemption_attempts_total",
    "scheduler_preemption_victims", "scheduler_schedule_attempts_total",
    "scheduler_scheduling_attempt_duration_seconds",
)  # fmt: skip
_BETA = (
    "scheduler_pod_scheduling_sli_duration_seconds", "kubernetes_feature_enabled",
    "apiserver_flowcontrol_current_executing_requests", "apiserver_flowcontrol_current_executing_seats",
    "apiserver_flowcontrol_current_inqueue_requests", "apiserver_flowcontrol_dispatched_requests_total",
    "apiserver_flowcontrol_nominal_limit_seats", "apiserver_flowcontrol_rejected_requests_total",
    "apiserver_flowcontrol_request_wait_duration_seconds", "apiserver_validating_admission_policy_check_total",
)  # fmt: skip
_NO_PROMISE = ("process_", "sampan_")

Labels = tuple[str, ...]
Sample = tuple[Labels, float]
Histogrammed = tuple[Labels, Sequence[int], float]
"""Label values, how many fell into each bucket (the last is +Inf), and the sum."""


class Family(Protocol):
    """One metric with all its label values."""

    name: str
    help: str
    type: str

    def lines(self, name: str) -> Iterator[str]:
        """Sample lines; `name` is the family's in the form that is asked for."""
        ...


class Counter:
    """Only ever grows. `values` maps label values to counts: `counter.values[key] = ... + 1` is fine too."""

    type = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, *key: str, by: float = 1) -> None:
        """Counts."""
        self.values[key] = self.values.get(key, 0) + by

    def lines(self, name: str) -> Iterator[str]:
        for key, value in tuple(self.values.items()):
            yield _line(name, self.labels, key, value)


class Read:
    """Read when asked: a gauge, or a counter that somebody else keeps."""

    def __init__(self, name: str, help: str, read: Callable[[], Iterable[Sample]], labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.type = "counter" if name.endswith("_total") else "gauge"
        self.read = read

    def lines(self, name: str) -> Iterator[str]:
        for key, value in self.read():
            yield _line(name, self.labels, key, value)


class Series:
    """One histogram: counts by bucket (the last is +Inf), and the sum."""

    __slots__ = ("bounds", "counts", "labels", "sum")

    def __init__(self, bounds: tuple[float, ...], labels: Labels = ()) -> None:
        self.bounds, self.labels = bounds, labels
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Histogram:
    """How often a value was how large."""

    type = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels, self.bounds = name, help, tuple(labels), tuple(bounds)
        self.series: dict[Labels, Series] = {}

    def of(self, *key: str) -> Series:
        """The series with these label values; keep it where values come often."""
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(self.bounds, key)
        return series

    def lines(self, name: str) -> Iterator[str]:
        for key, series in tuple(self.series.items()):
            if any(series.counts):
                yield from _buckets(name, self.labels, self.bounds, (key, series.counts, series.sum))


class ReadHistogram:
    """A histogram that somebody else keeps, read when asked."""

    type = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str]) -> None:
        self.name, self.help, self.labels, self.bounds = name, help, tuple(labels), tuple(bounds)
        self.read: Callable[[], Iterable[Histogrammed]] = tuple

    def lines(self, name: str) -> Iterator[str]:
        merged: dict[Labels, tuple[list[int], float]] = {}
        for key, counts, total in self.read():
            before = merged.get(key)
            if before is None:
                merged[key] = [*counts], total
            else:
                merged[key] = [a + b for a, b in zip(before[0], counts, strict=True)], before[1] + total
        for key, (counts, total) in merged.items():
            yield from _buckets(name, self.labels, self.bounds, (key, counts, total))


class Metrics:
    """All families, by name."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """A new counter."""
        counter = Counter(name, help, labels)
        self._families[name] = counter
        return counter

    def histogram(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        """A new histogram."""
        histogram = Histogram(name, help, bounds, labels)
        self._families[name] = histogram
        return histogram

    def read(self, name: str, help: str, read: Callable[[], Iterable[Sample]], labels: Sequence[str] = ()) -> None:
        """A family that is read when asked; one that is there already is replaced."""
        self._families[name] = Read(name, help, read, labels)

    def read_counter(self, name: str, help: str, labels: Sequence[str]) -> Read:
        """The same for a counter whose name does not say that it is one: set its `read`."""
        family = self._families[name] = Read(name, help, tuple, labels)
        family.type = "counter"
        return family

    def read_histogram(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str]) -> ReadHistogram:
        """The same for a histogram: set its `read`."""
        family = self._families[name] = ReadHistogram(name, help, bounds, labels)
        return family

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its media type, as the scraper accepts it."""
        is_open = "application/openmetrics-text" in accept
        parts: list[str] = []
        for family in sorted(self._families.values(), key=lambda f: f.name):
            bare = family.name.removesuffix("_total") if is_open and family.type == "counter" else family.name
            sampled = f"{bare}_total" if is_open and family.type == "counter" else family.name
            lines = list(family.lines(sampled))
            if lines:
                parts.append(
                    f"# HELP {bare} {_promise(family.name)}{_escaped(family.help)}\n# TYPE {bare} {family.type}\n"
                )
                parts.extend(lines)
        if is_open:
            parts.append("# EOF\n")
        return "".join(parts).encode(), OPEN if is_open else PLAIN


def of_mapping(values: Mapping[Labels, float]) -> Callable[[], Iterable[Sample]]:
    """Reads a mapping from label values that somebody else keeps."""
    return lambda: list(values.items())


def _promise(name: str) -> str:
    """What the help begins with."""
    if name.startswith(_NO_PROMISE):
        return ""
    return "[STABLE] " if name in _STABLE else "[BETA] " if name in _BETA else "[ALPHA] "


def _buckets(name: str, labels: Labels, bounds: Sequence[float], kept: Histogrammed) -> Iterator[str]:
    """One histogram's lines."""
    key, counts, sum_of_all = kept
    total = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        total += count
        yield _line(f"{name}_bucket", (*labels, "le"), (*key, _number(bound)), total)
    yield _line(f"{name}_sum", labels, key, sum_of_all)
    yield _line(f"{name}_count", labels, key, total)


def _line(name: str, labels: Sequence[str], values: Sequence[str], value: float) -> str:
    if not labels:
        return f"{name} {_number(value)}\n"
    shown = ",".join(f'{label}="{_quoted(text)}"' for label, text in zip(labels, values, strict=True))
    return f"{name}{{{shown}}} {_number(value)}\n"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _quoted(text: str) -> str:
    if '"' in text or "\\" in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
