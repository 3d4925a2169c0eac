"""Figures: how many questions were asked and answered, and how fast, under the names that CoreDNS has for them.

https://coredns.io/plugins/metrics/, https://coredns.io/plugins/cache/, https://coredns.io/plugins/forward/
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from sampan.node.exposition import COUNTER, GAUGE, Exposition
from sampan.node.network.dns.reply import Kind
from sampan.node.network.dns.upstreams import Server

BUCKETS = tuple(0.00025 * 2**step for step in range(16))
_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 255: "ANY"}
_CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_REQUESTS = ("coredns_dns_requests_total", COUNTER, "Counter of DNS requests made per zone, protocol and family.")
_RESPONSES = ("coredns_dns_responses_total", COUNTER, "Counter of response status codes.")
_SECONDS = ("coredns_dns_request_duration_seconds", "Histogram of the time (in seconds) each request took per zone.")
_HITS = ("coredns_cache_hits_total", COUNTER, "The count of cache hits.")
_MISSES = ("coredns_cache_misses_total", COUNTER, "The count of cache misses.")
_ENTRIES = ("coredns_cache_entries", GAUGE, "The number of elements in the cache.")
_REJECTS = (
    "coredns_forward_max_concurrent_rejects_total",
    COUNTER,
    "Counter of the number of queries rejected because the concurrent queries were at maximum.",
)
_BROKEN = (
    "coredns_forward_healthcheck_broken_total",
    COUNTER,
    "Counter of the number of complete failures of the healthchecks.",
)
_PROXY = ("coredns_proxy_request_duration_seconds", "Histogram of the time each request took.")

Way = tuple[str, str]
"""How questions come: "udp" or "tcp", and the family of addresses, "1" or "2"."""


@dataclass(slots=True)
class Histogram:
    """How many took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """So many took so long each."""
        self.counts[bisect_left(BUCKETS, seconds)] += times
        self.sum += seconds * times


@dataclass(slots=True)
class Figures:
    """Counted since the start."""

    answered: dict[Way, Counter[Kind]] = field(default_factory=dict)
    seconds: dict[str, Histogram] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    misses: int = 0
    rejects: int = 0
    broken: int = 0
    asked: dict[tuple[Server, int], Histogram] = field(default_factory=dict)

    def way(self, proto: str, family: str) -> Counter[Kind]:
        """Where to count what comes this way."""
        return self.answered.setdefault((proto, family), Counter())

    def took(self, zone: str, seconds: float, times: int = 1) -> None:
        """So many answers took so long each."""
        if zone not in self.seconds:
            self.seconds[zone] = Histogram()
        self.seconds[zone].observe(seconds, times)

    def exchanged(self, server: Server, code: int, seconds: float) -> None:
        """A server answered."""
        self.asked.setdefault((server, code), Histogram()).observe(seconds)

    def tell(self, found: Exposition, server: str, entries: dict[str, int]) -> None:
        """Adds the figures of the server at an address; `entries` are what is kept of others' answers."""
        own = {"server": server, "view": ""}
        requests: Counter[tuple[Way, str, str]] = Counter()
        responses: Counter[tuple[str, str]] = Counter()
        for way, kinds in self.answered.items():
            for (zone, type, code), count in kinds.items():
                requests[way, zone, _TYPES.get(type, "other")] += count
                responses[zone, _CODES[code] if code < len(_CODES) else str(code)] += count
        for ((proto, family), zone, name), count in sorted(requests.items()):
            found.add(_REQUESTS, count, own | {"zone": zone, "proto": proto, "family": family, "type": name})
        for (zone, rcode), count in sorted(responses.items()):
            found.add(_RESPONSES, count, own | {"zone": zone, "rcode": rcode})
        for zone, histogram in sorted(self.seconds.items()):
            found.add_histogram(_SECONDS, (BUCKETS, histogram.counts, histogram.sum), own | {"zone": zone})
        for result, count in sorted(self.hits.items()):
            found.add(_HITS, count, own | {"zones": ".", "type": result})
        found.add(_MISSES, self.misses, own | {"zones": "."})
        for result, count in sorted(entries.items()):
            found.add(_ENTRIES, count, own | {"zones": ".", "type": result})
        found.add(_REJECTS, self.rejects)
        found.add(_BROKEN, self.broken)
        for ((host, port), code), histogram in sorted(self.asked.items()):
            labels = {"proxy_name": "forward", "to": f"{host}:{port}", "rcode": _CODES[code] if code < 6 else str(code)}
            found.add_histogram(_PROXY, (BUCKETS, histogram.counts, histogram.sum), labels)
