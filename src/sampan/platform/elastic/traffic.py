"""Traffic: requests per second and how long they took, from two readings of a gateway's counters.

There is some as long as one request is under way, however long it takes: those that wait for a pod are never overlooked.
Readings are in the form that Prometheus reads. A counter that is smaller than it was began anew.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Key = tuple[str, str, str]
"""Kind (Service, HTTPRoute, Ingress ...), namespace and name."""

_LINE = re.compile(r"sampan_gateway_(service|route)_([a-z_]+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_DURATION = "request_duration_seconds"


@dataclass(slots=True)
class Counters:
    """`buckets` has how many requests took at most so many seconds, those of the smaller bounds included.

    `requests` are those that were answered, `under_way` those that are not yet.
    """

    requests: float = 0.0
    under_way: float = 0.0
    seconds: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at a time (unix seconds)."""

    at: float
    counters: dict[Key, Counters]


@dataclass(frozen=True, slots=True)
class Span:
    """What happened between two readings. `requests` were answered, or are under way, if these are more."""

    seconds: float
    requests: float
    mean_seconds: float
    buckets: tuple[tuple[float, float], ...]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def quantile(self, share: float) -> float:
        """So many of the requests took at most so many seconds; 0 where there were none.

        Within a bucket they are thought of as spread evenly; beyond the last bound nothing is known but that bound.
        """
        total = self.buckets[-1][1] if self.buckets else 0.0
        rank, below, lower = share * total, 0.0, 0.0
        for bound, count in self.buckets if total else ():
            if count >= rank and count > below:
                return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
            below, lower = count, bound
        return 0.0


def read(text: str, at: float) -> Reading:
    """What a gateway says of its Services and routes."""
    found: dict[Key, Counters] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        labels = dict(_LABEL.findall(match[3]))
        counters = found.setdefault(_key(match[1], labels), Counters())
        value = float(match[4])
        if match[2] == "requests_total":
            counters.requests += value
        elif match[2] == "requests_in_flight":
            counters.under_way += value
        elif match[2] == f"{_DURATION}_sum":
            counters.seconds += value
        elif match[2] == f"{_DURATION}_bucket":
            bound = float(labels["le"])
            counters.buckets[bound] = counters.buckets.get(bound, 0.0) + value
    return Reading(at, found)


def _key(family: str, labels: dict[str, str]) -> Key:
    """The gateway writes the dots of a route's name as underscores, which names don't have."""
    if family == "service":
        return "Service", labels["namespace"], labels["service"]
    return labels["kind"], labels["namespace"], labels["route"].replace("_", ".")


def span(readings: Sequence[Reading], keys: Sequence[Key], seconds: float) -> Span | None:
    """The last so many seconds of these together, or as much as there is; None without two readings that know them."""
    if len(readings) < 2:
        return None
    last = readings[-1]
    known = [key for key in keys if key in last.counters]
    if not known:
        return None
    old_enough = [reading for reading in readings[:-1] if reading.at <= last.at - seconds]
    first = old_enough[-1] if old_enough else readings[0]
    requests = took = 0.0
    buckets: dict[float, float] = {}
    for key in known:
        now, before = last.counters[key], first.counters.get(key, Counters())
        if now.requests < before.requests:
            before = Counters()
        requests += max(now.requests - before.requests, now.under_way)
        took += max(now.seconds - before.seconds, 0.0)
        for bound, count in now.buckets.items():
            buckets[bound] = buckets.get(bound, 0.0) + max(count - before.buckets.get(bound, 0.0), 0.0)
    ordered = tuple(sorted(buckets.items()))
    total = ordered[-1][1] if ordered else 0.0
    return Span(last.at - first.at, requests, took / total if total else 0.0, ordered)
