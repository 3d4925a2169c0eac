"""What is counted of the server's parts: stored objects, watches, the audit log, flow control, admission.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from sampan.kinds import feature_gates
from sampan.kinds.apiregistration import api_service
from sampan.kinds.feature_gates import Gates
from sampan.meta import objects
from sampan.server.audit.log import Audit
from sampan.server.cache import ROOT, Cache, KindCache
from sampan.server.flow.control import Flow, Route
from sampan.server.metrics import Metrics, Sample, of_mapping
from sampan.server.request_info import RequestInfo
from sampan.server.request_metrics import Key
from sampan.web.handshakes import Handshakes

WAIT_SECONDS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
STORAGE = "etcd-0"  # as upstream calls the first, and mostly the only one
_FLOW = "apiserver_flowcontrol_"


def storage(metrics: Metrics, cache: Cache) -> None:
    """How many objects there are of each resource, and how large they are."""

    def named() -> Iterable[Sample]:
        return [((kept.resource,), len(kept.items)) for kept in cache.kinds()]

    def grouped() -> Iterable[Sample]:
        return [(_group_resource(kept), len(kept.items)) for kept in cache.kinds()]

    def sizes() -> Iterable[Sample]:
        for kept in cache.kinds():
            yield _group_resource(kept), sum(len(item.stored) for item in tuple(kept.items.values()))

    failing = "In case of a fetching error, the value will be -1."
    help = f"Number of stored objects at the time of last check split by kind. {failing}"
    old = "(Deprecated since 1.34.0) [DEPRECATED, consider using apiserver_resource_objects instead] "
    metrics.read("apiserver_storage_objects", old + help, named, ("resource",))
    metrics.read("apiserver_resource_objects", help, grouped, ("group", "resource"))
    help = (
        "Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized "
        f"objects. {failing}"
    )
    metrics.read("apiserver_resource_size_estimate_bytes", help, sizes, ("group", "resource"))


def stored_bytes(metrics: Metrics, read: Callable[[], int | None]) -> None:
    """How large the store is on disk; `read` is asked each time, and None is not shown."""

    def shown() -> Iterable[Sample]:
        size = read()
        return [] if size is None else [((STORAGE,), size)]

    help = "Size of the storage database file physically allocated in bytes."
    metrics.read("apiserver_storage_size_bytes", help, shown, ("storage_cluster_id",))


def aggregation(metrics: Metrics, cache: Cache, failures: Mapping[tuple[str, str], int]) -> None:
    """Which APIServices cannot be used, and how often each came to that, by reason."""

    def unavailable() -> Iterable[Sample]:
        for item in cache.of(api_service.APISERVICE).range():
            yield (objects.name(item.tree),), 0 if api_service.is_available(item.tree) else 1

    help = "Gauge of APIServices which are marked as unavailable broken down by APIService name."
    metrics.read("aggregator_unavailable_apiservice", help, unavailable, ("name",))
    help = "Counter of APIServices which are marked as unavailable broken down by APIService name and reason."
    labels = ("name", "reason")
    metrics.read("aggregator_unavailable_apiservice_total", help, lambda: list(failures.items()), labels)


def handshakes(metrics: Metrics, counted: Handshakes) -> None:
    """How many connections came to nothing before any request."""
    help = "Number of requests dropped with 'TLS handshake error from' error"
    metrics.read("apiserver_tls_handshake_errors_total", help, lambda: [((), counted.failed)])


def build(metrics: Metrics, version: Mapping[str, str]) -> None:
    """What is running, as /version tells it."""
    fields = {
        "build_date": "buildDate", "compiler": "compiler", "git_commit": "gitCommit",
        "git_tree_state": "gitTreeState", "git_version": "gitVersion", "go_version": "goVersion", "major": "major",
        "minor": "minor", "platform": "platform",
    }  # fmt: skip
    help = (
        "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build "
        "date, Go version, and compiler from which Kubernetes was built, and platform on which it is running."
    )
    values = tuple(version[name] for name in fields.values())
    metrics.read("kubernetes_build_info", help, lambda: [(values, 1)], tuple(fields))


def features(metrics: Metrics, gates: Gates) -> None:
    """Which feature gates there are, and whether they are open."""
    help = "Whether a Kubernetes feature is enabled, with the stage that it is at."
    samples = [((gate.name, gate.stage), int(gate.name in gates)) for gate in feature_gates.GATES]
    metrics.read("kubernetes_feature_enabled", help, lambda: samples, ("name", "stage"))


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
        "and component. Not all requests are tracked this way."
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


def _group_resource(kept: KindCache) -> tuple[str, str]:
    group, _, resource = kept.prefix.removeprefix(ROOT).strip("/").partition("/")
    return "" if group == "core" else group, resource


def _scope(info: RequestInfo) -> str:
    return "resource" if info.name else "namespace" if info.namespace else "cluster"
