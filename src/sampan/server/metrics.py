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

Labels = tuple[str, ...]
Sample = tuple[Labels, float]


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
        self._read = read

    def lines(self, name: str) -> Iterator[str]:
        for key, value in self._read():
            yield _line(name, self.labels, key, value)


class Series:
    """One histogram: counts by bucket (the last is +Inf), and the sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
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
            series = self.series[key] = Series(self.bounds)
        return series

    def lines(self, name: str) -> Iterator[str]:
        labels = (*self.labels, "le")
        for key, series in tuple(self.series.items()):
            total = 0
            for bound, count in zip((*series.bounds, float("inf")), series.counts, strict=True):
                total += count
                yield _line(f"{name}_bucket", labels, (*key, _number(bound)), total)
            yield _line(f"{name}_sum", self.labels, key, series.sum)
            yield _line(f"{name}_count", self.labels, key, total)


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

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its media type, as the scraper accepts it."""
        is_open = "application/openmetrics-text" in accept
        parts: list[str] = []
        for family in sorted(self._families.values(), key=lambda f: f.name):
            bare = family.name.removesuffix("_total") if is_open and family.type == "counter" else family.name
            sampled = f"{bare}_total" if is_open and family.type == "counter" else family.name
            lines = list(family.lines(sampled))
            if lines:
                parts.append(f"# HELP {bare} {_escaped(family.help)}\n# TYPE {bare} {family.type}\n")
                parts.extend(lines)
        if is_open:
            parts.append("# EOF\n")
        return "".join(parts).encode(), OPEN if is_open else PLAIN


def of_mapping(values: Mapping[Labels, float]) -> Callable[[], Iterable[Sample]]:
    """Reads a mapping from label values that somebody else keeps."""
    return lambda: list(values.items())


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
