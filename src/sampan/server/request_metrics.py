"""What is counted of requests: how many, how long, how large, how many at a time, as the reference server names it.

Every sort of request has one record, found once; when the request is done one call adds to it. The families
that Prometheus reads are made of the records when somebody asks.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from sampan.server.access_metrics import QUICK_SECONDS as QUICK_ACCESS
from sampan.server.access_metrics import AccessMetrics
from sampan.server.identity import User
from sampan.server.metrics import Histogrammed, Metrics, Sample
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request

SECONDS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
QUICK_SECONDS = SECONDS[0]
SLI_FROM = SECONDS.index(0.05)
SIZES = tuple(float(1000 * 10**n) for n in range(7))
SMALL_BYTES = SIZES[0]
UNSIZED = -1
OTHER = "other"
LONG_SUBRESOURCES = ("attach", "exec", "log", "portforward", "proxy")
READ_VERBS = ("get", "list", "watch")
_VERBS = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip
_WHAT = ("verb", "group", "version", "resource", "subresource", "scope", "component")
_ROOTS = ("/healthz", "/livez", "/readyz", "/version", "/metrics", "/openapi", "/api", "/apis")
MAX_SERIES = 4096

Key = tuple[str, str, str, str, str, str, str]


class Record:
    """What is counted of one sort of request.

    `codes` counts all by status code; `slow` those that took longer than QUICK_SECONDS, by bucket; `sizes` the
    answers that were sent as a whole. `is_own` is False where several sorts share it. `spared` is what the time of others takes from the buckets of `slow`.
    """

    __slots__ = (
        "bytes", "codes", "dry_run", "is_own", "is_sized", "is_write", "key", "open", "rehearsals", "seconds", "sizes", "slow",
        "spared", "spared_seconds",
    )  # fmt: skip

    def __init__(self, key: Key, dry_run: str = "", *, is_write: bool) -> None:
        self.key, self.dry_run, self.is_write = key, dry_run, is_write
        self.is_sized = key[0] in ("GET", "LIST")
        self.is_own = key[3] != OTHER
        self.open = 0
        self.codes: dict[int, int] = {}
        self.slow = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0
        self.sizes = [0] * (len(SIZES) + 1)
        self.bytes = 0
        self.spared: list[int] | None = None
        self.spared_seconds = 0.0
        self.rehearsals: dict[str, Record] = {}

    def dry(self, value: str) -> "Record":
        """The same sort of request, as a dry run; `value` is what the caller asks for."""
        shown = value if value == "All" else "invalid"
        if shown not in self.rehearsals:
            self.rehearsals[shown] = Record(self.key, shown, is_write=self.is_write)
        return self.rehearsals[shown]

    def spare(self, seconds: float, theirs: float) -> None:
        """Of these seconds others took so many."""
        if self.spared is None:
            self.spared = [0] * (len(SECONDS) + 1)
        self.spared[bisect_left(SECONDS, seconds)] -= 1
        self.spared[bisect_left(SECONDS, max(seconds - theirs, 0.0))] += 1
        self.spared_seconds += theirs

    def buckets(self) -> list[int]:
        """How many took how long."""
        quick = sum(self.codes.values()) - sum(self.slow)
        return [quick + self.slow[0], *self.slow[1:]]

    def own_buckets(self) -> list[int]:
        """The same without the time of others."""
        return (
            self.buckets() if self.spared is None else [a + b for a, b in zip(self.buckets(), self.spared, strict=True)]
        )


class Timed(Protocol):
    """A request on its way, with the moments (monotonic) that it has passed; NEVER is one that it has not.

    `caller` is who was identified.
    """

    request: Request
    record: Record
    started: float
    identified: float
    asked: float
    judged: float
    caller: User


class RequestMetrics:
    """`of` finds the record of a request, once; `done` adds to it. `knows` tells what is served from what is not,
    `is_deprecated` which group, version and resource callers should leave.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._records: dict[tuple[object, ...], Record] = {}
        self.access = AccessMetrics(metrics)
        self.knows: Callable[[RequestInfo], bool] = lambda info: True
        self.is_deprecated: Callable[[str, str, str], bool] = lambda group, version, resource: False
        self.long: Counter[Key] = Counter()
        self._register(metrics)

    def of(self, info: RequestInfo) -> Record:
        """The record of this sort of request."""
        if info.is_resource:
            place: tuple[object, ...] = (
                info.resource, info.verb, info.name != "", info.namespace != "", info.subresource, info.group,
                info.version,
            )  # fmt: skip
        else:
            place = (info.verb, _root(info))
        record = self._records.get(place)
        return record if record is not None else self._new(info, place)

    def done(self, passage: Timed, code: int, size: int, ended: float) -> None:
        """A request ended, with an answer of so many bytes (UNSIZED when it is a stream or a tree)."""
        record = passage.record
        if record.is_write and (dry_run := passage.request.param("dryRun")):
            record = record.dry(dry_run)
        seconds = ended - passage.started
        try:
            record.codes[code] += 1
        except KeyError:
            record.codes[code] = 1
        record.seconds += seconds
        if seconds > QUICK_SECONDS:
            record.slow[bisect_left(SECONDS, seconds)] += 1
        if passage.request.others_seconds:
            record.spare(seconds, passage.request.others_seconds)
        if size >= 0 and record.is_sized:
            record.bytes += size
            record.sizes[0 if size <= SMALL_BYTES else bisect_left(SIZES, size)] += 1
        access, identified, judged = self.access, passage.identified, passage.judged
        if identified < 0:
            return
        try:
            access.names[passage.caller.name] += 1
        except KeyError:
            access.new_name(passage.caller.name)
        if 0 <= judged <= passage.started + QUICK_ACCESS:  # then each of the two was as quick
            access.quick += 1
            access.identifying += identified - passage.started
            access.judging += judged - passage.asked
        else:
            access.slowly(passage, ended)

    def began(self, record: Record) -> Callable[[], None]:
        """A request of this sort goes on for long, until what is returned is called."""
        self.long[record.key] += 1

        def end() -> None:
            self.long[record.key] -= 1

        return end

    def _new(self, info: RequestInfo, place: tuple[object, ...]) -> Record:
        labels, is_write = _labels(info), info.verb not in READ_VERBS
        if len(self._records) >= MAX_SERIES or not self.knows(info):  # names that a caller made up
            labels = (labels[0], OTHER, "", OTHER, "", "", "apiserver")
            place = (*labels, is_write)
        record = self._records.get(place)
        if record is None:
            record = self._records[place] = Record(labels, is_write=is_write)
        return record

    # What Prometheus reads

    def _register(self, metrics: Metrics) -> None:
        metrics.read(
            "apiserver_request_total",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, "
            "component, and HTTP response code.",
            self._totals,
            ("verb", "dry_run", *_WHAT[1:], "code"),
        )
        metrics.read(
            "apiserver_current_inflight_requests",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last "
            "second.",
            self._inflight,
            ("request_kind",),
        )
        metrics.read(
            "apiserver_requested_deprecated_apis",
            "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, "
            "subresource, and removed_release.",
            self._deprecated,
            ("group", "version", "resource", "subresource", "removed_release"),
        )
        metrics.read_histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
            "subresource, scope and component.",
            SECONDS,
            ("verb", "dry_run", *_WHAT[1:]),
        ).read = self._durations
        metrics.read_histogram(
            "apiserver_request_sli_duration_seconds",
            "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in "
            "seconds for each verb, group, version, resource, subresource, scope and component.",
            SECONDS[SLI_FROM:],
            _WHAT,
        ).read = self._own_durations
        metrics.read_histogram(
            "apiserver_response_sizes",
            "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and "
            "component.",
            SIZES,
            _WHAT,
        ).read = self._sizes

    def _all(self) -> Iterable[Record]:
        for record in tuple(self._records.values()):
            if record.codes:
                yield record
            yield from tuple(record.rehearsals.values())

    def _totals(self) -> Iterable[Sample]:
        totals: Counter[tuple[str, ...]] = Counter()
        for record in self._all():
            verb, *rest = record.key
            for code, count in record.codes.items():
                totals[verb, record.dry_run, *rest, str(code)] += count
        return totals.items()

    def _inflight(self) -> Iterable[Sample]:
        records = self._records.values()
        for name, is_write in (("mutating", True), ("readOnly", False)):
            yield (name,), sum(record.open for record in records if record.is_write is is_write)

    def _deprecated(self) -> Iterable[Sample]:
        asked = {(key[1], key[2], key[3], key[4]) for key in (record.key for record in self._all())}
        return [((*each, ""), 1) for each in sorted(asked) if self.is_deprecated(*each[:3])]

    def _durations(self) -> Iterable[Histogrammed]:
        for record in self._all():
            verb, *rest = record.key
            yield (verb, record.dry_run, *rest), record.buckets(), record.seconds

    def _own_durations(self) -> Iterable[Histogrammed]:
        for record in self._all():
            counts = record.own_buckets()
            merged = [sum(counts[: SLI_FROM + 1]), *counts[SLI_FROM + 1 :]]
            yield record.key, merged, record.seconds - record.spared_seconds

    def _sizes(self) -> Iterable[Histogrammed]:
        for record in self._all():
            if any(record.sizes):
                yield record.key, record.sizes, record.bytes


def spend_elsewhere(request: Request, started: float, ended: float) -> None:
    """Others (a webhook, a queue) had the request for this time; what overlaps counts once."""
    request.others_seconds += max(ended - max(started, request.others_until), 0.0)
    request.others_until = max(ended, request.others_until)


def is_long(info: RequestInfo) -> bool:
    """Whether the request goes on until somebody ends it: a watch, a log, a stream."""
    return info.verb == "watch" or info.subresource in LONG_SUBRESOURCES


def _root(info: RequestInfo) -> str:
    """What a path that names no resource is counted as."""
    root = "/" + info.path[1:].partition("/")[0]
    return root if root in _ROOTS else ""


def _labels(info: RequestInfo) -> Key:
    verb = _VERBS.get(info.verb, info.verb.upper() if info.verb in ("head", "options", "post", "put") else "other")
    if not info.is_resource:
        return (verb, "", "", "", _root(info), "", "apiserver")
    if info.subresource in LONG_SUBRESOURCES and info.subresource != "log":
        verb = "CONNECT"
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    return (verb, info.group, info.version, info.resource, info.subresource, scope, "apiserver")
