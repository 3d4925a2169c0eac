"""What is counted of requests: how many, how long, how many at a time, as the reference server names it.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections import Counter
from collections.abc import Callable, Iterable

from sampan.server.metrics import Metrics, Sample, Series
from sampan.server.request_info import RequestInfo

SECONDS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
SIZES = tuple(float(1000 * 10**n) for n in range(7))
LONG_SUBRESOURCES = ("attach", "exec", "log", "portforward", "proxy")
READ_VERBS = ("get", "list", "watch")
_VERBS = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip
_WHAT = ("verb", "group", "version", "resource", "subresource", "scope", "component")
MAX_SERIES = 4096

Key = tuple[str, str, str, str, str, str, str]


class Kept:
    """The series of one sort of request."""

    __slots__ = ("codes", "key", "seconds")

    def __init__(self, key: Key, seconds: Series) -> None:
        self.key = key
        self.seconds = seconds
        self.codes: dict[tuple[int, str], int] = {}


class RequestMetrics:
    """`of` finds the series of a request, once; the rest adds to it. `knows` tells what is served from what is not."""

    def __init__(self, metrics: Metrics) -> None:
        self._kept: dict[tuple[str, ...], Kept] = {}
        self._seconds = metrics.histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, group, version, resource, subresource, scope "
            "and component.",
            SECONDS,
            _WHAT,
        )
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
        self.knows: Callable[[RequestInfo], bool] = lambda info: True
        self.inflight = {False: 0, True: 0}
        self.long: Counter[Key] = Counter()

    def of(self, info: RequestInfo) -> Kept:
        """The series of this sort of request."""
        named = bool(info.name)
        key = (info.verb, info.group, info.version, info.resource, info.subresource, "n" if info.namespace else "")
        kept = self._kept.get((*key, "o" if named else ""))
        if kept is None:
            kept = self._new(info, (*key, "o" if named else ""))
        return kept

    def done(self, kept: Kept, code: int, dry_run: str, seconds: float) -> None:
        """A request ended after so long."""
        answer = (code, dry_run)
        kept.codes[answer] = kept.codes.get(answer, 0) + 1
        kept.seconds.observe(seconds)

    def began(self, kept: Kept) -> Callable[[], None]:
        """A request of this sort goes on for long, until what is returned is called."""
        self.long[kept.key] += 1

        def end() -> None:
            self.long[kept.key] -= 1

        return end

    def _new(self, info: RequestInfo, place: tuple[str, ...]) -> Kept:
        labels = _labels(info)
        if len(self._kept) >= MAX_SERIES or not self.knows(info):  # names that a caller made up
            labels = (labels[0], "other", "", "other", "", "", "apiserver")
            place = (*labels, "")
        kept = self._kept.get(place)
        if kept is None:
            kept = self._kept[place] = Kept(labels, self._seconds.of(*labels))
        return kept

    def _totals(self) -> Iterable[Sample]:
        totals: dict[tuple[str, ...], float] = {}
        for kept in self._kept.values():
            for (code, dry_run), count in kept.codes.items():
                verb, *rest = kept.key
                key = (verb, dry_run, *rest, str(code))
                totals[key] = totals.get(key, 0) + count
        return totals.items()

    def _inflight(self) -> Iterable[Sample]:
        return [(("mutating",), self.inflight[True]), (("readOnly",), self.inflight[False])]


def is_long(info: RequestInfo) -> bool:
    """Whether the request goes on until somebody ends it: a watch, a log, a stream."""
    return info.verb == "watch" or info.subresource in LONG_SUBRESOURCES


def _labels(info: RequestInfo) -> Key:
    verb = _VERBS.get(info.verb, info.verb.upper() if info.verb in ("head", "options", "post", "put") else "other")
    if not info.is_resource:
        root = "/" + info.path.strip("/").partition("/")[0]
        known = root if root in ("/healthz", "/livez", "/readyz", "/version", "/metrics", "/openapi") else ""
        return (verb, "", "", "", known, "", "apiserver")
    if info.subresource in LONG_SUBRESOURCES and info.subresource != "log":
        verb = "CONNECT"
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    return (verb, info.group, info.version, info.resource, info.subresource, scope, "apiserver")
