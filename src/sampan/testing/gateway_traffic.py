"""Gateway traffic: requests through an HTTPRoute of a cluster in virtual time, and the counters that its gateway would show.

    traffic = GatewayTraffic(cluster, ("shop", "web"), lambda pod: Server(slots=4, seconds=0.05))
    traffic.offer(200)                       # requests a second, from now on
    cluster.advance(60)
    traffic.taken()                          # what came of them

Requests are shared by the weights of the route's first rule, and by a Service among the pods that its EndpointSlices call
ready. Autoscalers and analyses read the counters where a gateway's are, so they see what they would see of Envoy.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sampan.cluster.history import Change
from sampan.gateway import kinds, metrics_text
from sampan.gateway.service import VIRTUAL_ADDRESS
from sampan.kinds.core.pod import POD
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Object
from sampan.kit.dice import Dice
from sampan.meta import objects
from sampan.testing import queueing
from sampan.testing.cluster import Cluster
from sampan.testing.queueing import Latency, Passed, Server
from sampan.web.message import Response

BOUNDS_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""Those of Envoy's histograms."""
_BOUNDS_SECONDS = tuple(bound / 1000 for bound in BOUNDS_MS)
FINE_SECONDS = tuple(0.005 * 1.1**step for step in range(80))
"""5 ms to 9 s: good enough for quantiles."""
_SERVICE_NAME = "kubernetes.io/service-name"
_ABOUT = (ENDPOINTSLICE.resource, kinds.HTTPROUTE.resource)
UNEVEN = 0.1
"""By so much more or less requests come than is offered, from one look to the next."""
STEP_SECONDS = 5.0


@dataclass(slots=True)
class Counts:
    """What came of requests: ends by (version, code), "" where none answered, and how many took how long."""

    ends: dict[tuple[str, int], float] = field(default_factory=dict)
    latencies: dict[Latency, float] = field(default_factory=dict)

    @property
    def answered(self) -> float:
        """Well."""
        return sum(count for (_, code), count in self.ends.items() if 200 <= code < 300)

    def quantile(self, share: float) -> float | None:
        """So many of those that had an answer took at most so long; None without any."""
        total = sum(self.latencies.values())
        if total <= 0:
            return None
        within = _sums((count, _shares(latency, FINE_SECONDS)) for latency, count in self.latencies.items())
        reached = (bound for bound, count in zip(FINE_SECONDS, within, strict=True) if count >= share * total)
        return next(reached, FINE_SECONDS[-1])

    def slower_than(self, seconds: float) -> float:
        """How many had an answer, but only after so long."""
        return sum(count * (1 - latency.share_within(seconds)) for latency, count in self.latencies.items())


@dataclass(slots=True)
class _Backend:
    """A Service's pods by their versions, who waits for them, and Envoy's counters of it."""

    servers: tuple[tuple[str, Server], ...] = ()
    weight: int = 0
    backlog: float = 0.0
    ok: float = 0.0
    failed: float = 0.0
    buckets: list[float] = field(default_factory=lambda: [0.0] * len(BOUNDS_MS))


class GatewayTraffic:
    """`route` is (namespace, name) of an HTTPRoute; `server` says what a pod is like, `version` what it is called."""

    def __init__(
        self,
        cluster: Cluster,
        route: tuple[str, str],
        server: Callable[[Object], Server],
        version: Callable[[Object], str] = objects.name,
    ) -> None:
        self._sim, self._route, self._server, self._version = cluster.sim, route, server, version
        self._dice = Dice(cluster.seed, "traffic")
        self._at, self._per_second = cluster.time, 0.0
        self._counts = Counts()
        self._backends: dict[str, _Backend] = {}
        self._is_stale = True
        cluster.sim.observe(self._noted)
        cluster.sim.outbound.serve(f"http://{VIRTUAL_ADDRESS}/metrics", self._metrics)

    def offer(self, per_second: float) -> None:
        """So many requests a second from now on."""
        self._pass()
        self._per_second = per_second

    def taken(self) -> Counts:
        """What came to an end since the last time."""
        self._pass()
        taken, self._counts = self._counts, Counts()
        return taken

    # Time

    def _noted(self, change: Change) -> None:
        if change.resource in _ABOUT:
            self._is_stale = True

    def _pass(self) -> None:
        """Lets requests come and go as long as time has passed, in small steps."""
        while (seconds := min(self._sim.time - self._at, STEP_SECONDS)) > 0:
            if self._is_stale:
                self._look()
            self._at += seconds
            arrived = self._per_second * seconds * self._dice.between(1 - UNEVEN, 1 + UNEVEN)
            weights = sum(backend.weight for backend in self._backends.values())
            if not weights:
                self._end("", 500, arrived)
            for backend in self._backends.values():
                self._serve(backend, arrived * backend.weight / (weights or 1), seconds)

    def _serve(self, backend: _Backend, arrived: float, seconds: float) -> None:
        servers = tuple(server for _, server in backend.servers)
        found = queueing.passed(arrived, backend.backlog, seconds, servers)
        backend.backlog = found.backlog
        self._end("", 503 if not servers else 504, found.dropped)
        backend.failed += found.dropped
        able = sum(server.per_second for server in servers)
        for version, server in backend.servers:
            share = found.answered * server.per_second / able
            bad = share * server.fail_share
            self._end(version, 500, bad)
            self._end(version, 200, share - bad)
            backend.failed += bad
            backend.ok += share - bad
        self._time(backend, found)

    def _time(self, backend: _Backend, found: Passed) -> None:
        if found.answered:
            latencies = self._counts.latencies
            latencies[found.latency] = latencies.get(found.latency, 0.0) + found.answered
            shares = _shares(found.latency, _BOUNDS_SECONDS)
            backend.buckets = [
                count + found.answered * share for count, share in zip(backend.buckets, shares, strict=True)
            ]

    def _end(self, version: str, code: int, count: float) -> None:
        if count > 0:
            self._counts.ends[version, code] = self._counts.ends.get((version, code), 0.0) + count

    # Who serves

    def _look(self) -> None:
        """At the route's weights, and at the pods that are ready."""
        self._is_stale = False
        namespace, name = self._route
        route = self._sim.get(kinds.HTTPROUTE, name, namespace) or {}
        rules = (route.get("spec") or {}).get("rules") or [{}]
        weights = {ref["name"]: ref.get("weight", 1) for ref in rules[0].get("backendRefs") or ()}
        for service in weights.keys() | self._backends.keys():
            backend = self._backends.setdefault(service, _Backend())
            backend.weight, backend.servers = weights.get(service, 0), self._ready(namespace, service)

    def _ready(self, namespace: str, service: str) -> tuple[tuple[str, Server], ...]:
        slices = self._sim.list(ENDPOINTSLICE, namespace)
        mine = [each for each in slices if objects.labels(each).get(_SERVICE_NAME) == service]
        endpoints = [end for each in mine for end in each.get("endpoints") or () if end["conditions"].get("ready")]
        names = sorted({end["targetRef"]["name"] for end in endpoints if end.get("targetRef")})
        pods = [pod for name in names if (pod := self._sim.get(POD, name, namespace)) is not None]
        return tuple((self._version(pod), self._server(pod)) for pod in pods)

    # Counters

    def _metrics(self, asked: Object) -> Response:
        """As the gateway shows them."""
        self._pass()
        namespace, name = self._route
        stats = [
            entry
            for service, backend in sorted(self._backends.items())
            for entry in _stats(f"cluster.{namespace}/{service}/80.", backend)
        ]
        stats += _stats(f"vhost.{name}.route.HTTPRoute/{namespace}/{name}.", self._whole())
        return Response(200, metrics_text.exposition({"stats": stats}).encode())

    def _whole(self) -> _Backend:
        found = list(self._backends.values())
        buckets = [sum(each.buckets[index] for each in found) for index in range(len(BOUNDS_MS))]
        return _Backend(ok=sum(each.ok for each in found), failed=sum(each.failed for each in found), buckets=buckets)


@lru_cache(4096)
def _shares(latency: Latency, bounds: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(latency.share_within, bounds))


def _sums(weighed: Iterable[tuple[float, tuple[float, ...]]]) -> list[float]:
    """Of lists of one length, each times its factor."""
    return [
        sum(column) for column in zip(*([factor * value for value in each] for factor, each in weighed), strict=True)
    ]


def _stats(prefix: str, backend: _Backend) -> list[Mapping[str, object]]:
    """In the form of Envoy's statistics."""
    buckets = [
        {"upper_bound": bound, "cumulative": round(count)}
        for bound, count in zip(BOUNDS_MS, backend.buckets, strict=True)
    ]
    return [
        {"name": f"{prefix}upstream_rq_total", "value": round(backend.ok) + round(backend.failed)},
        {"name": f"{prefix}upstream_rq_2xx", "value": round(backend.ok)},
        {"name": f"{prefix}upstream_rq_5xx", "value": round(backend.failed)},
        {"histograms": [{"name": f"{prefix}upstream_rq_time", "totals": buckets}]},
    ]
