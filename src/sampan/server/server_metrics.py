"""What is counted of the server's parts: stored objects, watches, the audit log, flow control, admission.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from sampan.kit.clock import Clock
from sampan.server.admission.chain import Attributes, Chain, Lookup
from sampan.server.audit.log import Audit
from sampan.server.cache import ROOT, Cache
from sampan.server.flow.control import Flow, Route
from sampan.server.metrics import Metrics, Sample, of_mapping
from sampan.server.request_info import RequestInfo
from sampan.server.request_metrics import Key

ADMISSION_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
WAIT_SECONDS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
_FLOW = "apiserver_flowcontrol_"


def storage(metrics: Metrics, cache: Cache) -> None:
    """How many objects there are of each resource."""

    def read() -> Iterable[Sample]:
        for kept in cache.kinds():
            group, _, resource = kept.prefix.removeprefix(ROOT).strip("/").partition("/")
            yield (resource if group == "core" else f"{resource}.{group}",), len(kept.items)

    help = "Number of stored objects at the time of last check split by kind."
    metrics.read("apiserver_storage_objects", help, read, ("resource",))


def long_running(
    metrics: Metrics, open_watches: Callable[[], Iterable[RequestInfo]], others: Mapping[Key, int]
) -> None:
    """Which watches, logs and streams are open."""

    def read() -> Iterable[Sample]:
        counted = Counter((info.group, info.version, info.resource, _scope(info)) for info in open_watches())
        for (group, version, resource, scope), count in counted.items():
            yield ("WATCH", group, version, resource, "", scope, "apiserver"), count
        yield from ((key, count) for key, count in tuple(others.items()) if count)

    labels = ("verb", "group", "version", "resource", "subresource", "scope", "component")
    help = (
        "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope "
        "and component."
    )
    metrics.read("apiserver_longrunning_requests", help, read, labels)


def audit(metrics: Metrics, log: Audit | None) -> None:
    """How many lines the audit log has got."""
    help = "Counter of audit events generated and sent to the audit backend."
    metrics.read("apiserver_audit_event_total", help, lambda: [((), log.written if log is not None else 0)])


def flow(metrics: Metrics, control: Flow) -> None:
    """Seats, queues, and what was let through and refused."""
    level = ("priority_level",)
    both = ("priority_level", "flow_schema")

    def levels(value: Callable[..., float]) -> Callable[[], Iterable[Sample]]:
        return lambda: [((each.name,), value(each)) for each in control.levels()]

    metrics.read(
        f"{_FLOW}dispatched_requests_total",
        "Number of requests executed by API Priority and Fairness subsystem",
        lambda: [((r.level.name, r.schema.name), r.dispatched) for r in control.routes()],
        both,
    )
    metrics.read(
        f"{_FLOW}rejected_requests_total",
        "Number of requests rejected by API Priority and Fairness subsystem",
        of_mapping(control.rejected),  # type: ignore[arg-type]  # a key of three texts is a tuple of texts
        (*both, "reason"),
    )
    metrics.read(
        f"{_FLOW}current_inqueue_requests",
        "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        levels(lambda each: each.waiting),
        level,
    )
    metrics.read(
        f"{_FLOW}current_executing_seats",
        "Concurrency (number of seats) occupied by the currently executing requests in the API Priority and Fairness "
        "subsystem",
        levels(lambda each: each.seats),
        level,
    )
    metrics.read(
        f"{_FLOW}nominal_limit_seats",
        "Nominal number of execution seats configured for each priority level",
        levels(lambda each: each.limits.nominal),
        level,
    )
    metrics.read(
        f"{_FLOW}lower_limit_seats",
        "Configured lower bound on number of execution seats available to each priority level",
        levels(lambda each: each.assured),
        level,
    )
    waits = metrics.histogram(
        f"{_FLOW}request_wait_duration_seconds",
        "Length of time a request spent waiting in its queue",
        WAIT_SECONDS,
        (*both, "execute"),
    )

    def waited(route: Route, seconds: float) -> None:
        waits.of(route.level.name, route.schema.name, "true").observe(seconds)

    control.waits = waited


class MeteredChain(Chain):
    """Admission whose phases are counted."""

    def __init__(self, chain: Chain, metrics: Metrics, clock: Clock) -> None:
        self._chain = chain
        self._clock = clock
        self._seconds = metrics.histogram(
            "apiserver_admission_step_admission_duration_seconds",
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step "
            "type (validate or admit).",
            ADMISSION_SECONDS,
            ("type", "operation", "rejected"),
        )

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """The mutating phase."""
        started, rejected = self._clock.monotonic(), "true"
        try:
            await self._chain.admit(attributes, lookup)
            rejected = "false"
        finally:
            series = self._seconds.of("admit", attributes.operation, rejected)
            series.observe(self._clock.monotonic() - started)

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """The validating phase."""
        started, rejected = self._clock.monotonic(), "true"
        try:
            await self._chain.validate(attributes, lookup)
            rejected = "false"
        finally:
            series = self._seconds.of("validate", attributes.operation, rejected)
            series.observe(self._clock.monotonic() - started)

    async def release(self, attributes: Attributes, lookup: Lookup) -> None:
        """When an object goes for good."""
        await self._chain.release(attributes, lookup)


def _scope(info: RequestInfo) -> str:
    return "resource" if info.name else "namespace" if info.namespace else "cluster"
