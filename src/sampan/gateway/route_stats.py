"""Route statistics: how many requests each Service and each route had and how long they took, from what Envoy counts.

Envoy's answer to /stats?format=json&histogram_buckets=cumulative goes in. Latencies are in milliseconds, as Envoy's.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str]
"""Namespace and name."""

QUERY = "/stats?format=json&histogram_buckets=cumulative"

_CLUSTER = re.compile(r"cluster\.([^/.]+)/([^/.]+)/\d+(?:/h2)?\.(.+)")
_ROUTE = re.compile(r"vhost\..*\.route\.([A-Za-z]+)/([^/]+)/([^/]+)\.(upstream_rq_\w+)")
_LATENCY = "upstream_rq_time"
_CODE_CLASS = re.compile(r"upstream_rq_([1-5])xx")


@dataclass(slots=True)
class Figures:
    """`buckets` has the number of requests that took at most so many milliseconds; `by_class` that of codes (2 for 2xx).

    `active` are those under way, `sum_ms` is about the time of all together.
    """

    requests: int = 0
    active: int = 0
    by_class: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    buckets: dict[float, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def sum_ms(self) -> float:
        """From the middle of each bucket: Envoy tells no sums."""
        total, below, lower = 0.0, 0, 0.0
        for bound, count in sorted(self.buckets.items()):
            total += (count - below) * (lower + bound) / 2
            below, lower = count, bound
        return total


def per_backend(stats: Mapping[str, Any]) -> dict[Key, tuple[int, dict[float, int]]]:
    """By (namespace, Service): the number of requests so far, and how many took at most so many milliseconds."""
    return {key: (figures.requests, dict(figures.buckets)) for key, figures in backends(stats).items()}


def backends(stats: Mapping[str, Any]) -> dict[Key, Figures]:
    """The figures of each Service, over all its ports."""
    found: dict[Key, Figures] = defaultdict(Figures)
    for name, value in _all(stats):
        match = _CLUSTER.fullmatch(name)
        if match is not None:
            _add(found[match[1], match[2]], match[3], value)
    return dict(found)


def routes(stats: Mapping[str, Any]) -> dict[tuple[str, str, str], Figures]:
    """The figures of each route, by (kind, namespace, name), over all hosts. Dots in names are underscores here."""
    found: dict[tuple[str, str, str], Figures] = defaultdict(Figures)
    for name, value in _all(stats):
        match = _ROUTE.fullmatch(name)
        if match is not None:
            _add(found[match[1], match[2], match[3]], match[4], value)
    return dict(found)


def _all(stats: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names with numbers, or with lists of (bound, count)."""
    for entry in stats.get("stats") or ():
        if "name" in entry:
            yield entry["name"], entry.get("value", 0)
            continue
        histograms: Any = entry.get("histograms") or []
        for histogram in histograms if isinstance(histograms, list) else histograms.get("details") or []:
            yield histogram["name"], _buckets(histogram)


def _buckets(histogram: Mapping[str, Any]) -> list[tuple[float, int]]:
    listed: Iterable[Mapping[str, Any]] = histogram.get("totals") or histogram.get("buckets") or ()
    return [(float(b["upper_bound"]), int(b["cumulative"])) for b in listed]


def _add(figures: Figures, name: str, value: Any) -> None:
    if name == "upstream_rq_total":
        figures.requests += int(value)
    elif name == "upstream_rq_active":
        figures.active += int(value)
    elif name == _LATENCY and isinstance(value, list):
        for bound, count in value:
            figures.buckets[bound] += count
    elif match := _CODE_CLASS.fullmatch(name):
        figures.by_class[int(match[1])] += int(value)
