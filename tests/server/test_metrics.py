"""/metrics, the health checks, and what is not there."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from sampan.kit.clock import SystemClock
from sampan.server import process_metrics, request_info
from sampan.server.metered_store import MeteredStore
from sampan.server.metrics import Metrics
from sampan.server.pipeline import _UntilItsEnd
from sampan.server.request_info import RequestInfo
from sampan.server.request_metrics import RequestMetrics
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Compare, Put, Result, Write
from sampan.web.message import Peer, Request
from tests.server.conftest import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
Sample = tuple[str, frozenset[tuple[str, str]]]


async def samples(api: Api) -> dict[Sample, float]:
    answer = await api.send("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def one(found: dict[Sample, float], name: str, /, **labels: str) -> float:
    wanted = set(labels.items())
    values = [value for (n, given), value in found.items() if n == name and wanted <= given]
    assert values, (name, labels)
    return sum(values)


def secret(name: str) -> dict[str, object]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}}


async def test_requests_are_counted_by_what_they_ask(api: Api) -> None:
    """Verb, resource, scope and code, with their durations; a dry run apart; refusals too."""
    await api.create(SECRETS, secret("a"))
    await api.send("POST", f"{SECRETS}?dryRun=All", secret("b"))
    await api.get(f"{SECRETS}/a")
    await api.send("GET", f"{SECRETS}/missing")
    await api.get(SECRETS)
    await api.send("GET", SECRETS, b"", Peer("jane"))
    found = await samples(api)
    total = "apiserver_request_total"
    assert one(found, total, verb="POST", resource="secrets", code="201", dry_run="") == 1
    assert one(found, total, verb="POST", resource="secrets", code="201", dry_run="All") == 1
    assert one(found, total, verb="GET", resource="secrets", scope="resource", version="v1", code="200") == 1
    assert one(found, total, verb="GET", resource="secrets", code="404") == 1
    assert one(found, total, verb="LIST", resource="secrets", scope="namespace", code="403") == 1
    seconds = "apiserver_request_duration_seconds"
    assert one(found, f"{seconds}_count", verb="LIST", resource="secrets") == 2
    assert one(found, f"{seconds}_bucket", verb="LIST", resource="secrets", le="+Inf") == 2
    assert one(found, "apiserver_current_inflight_requests", request_kind="readOnly") == 1


async def test_the_parts_are_counted(api: Api) -> None:
    """Stored objects, flow control, admission, the store, and the audit log."""
    await api.create(MAPS, config_map("a"))
    found = await samples(api)
    assert one(found, "apiserver_storage_objects", resource="configmaps") >= 1
    assert one(found, "apiserver_storage_objects", resource="clusterroles.rbac.authorization.k8s.io") > 60
    assert one(found, "apiserver_flowcontrol_dispatched_requests_total", flow_schema="exempt") > 1
    assert one(found, "apiserver_flowcontrol_nominal_limit_seats", priority_level="workload-low") > 0
    assert one(found, "apiserver_flowcontrol_current_inqueue_requests") == 0
    step = "apiserver_admission_step_admission_duration_seconds_count"
    assert one(found, step, type="admit", operation="CREATE", rejected="false") >= 1
    assert one(found, "etcd_request_duration_seconds_count", operation="create", group="", resource="configmaps") >= 1
    assert one(found, "apiserver_audit_event_total") == 0


async def test_each_admission_plugin_is_timed(api: Api) -> None:
    """By upstream's names: one that only looks, one that refuses."""
    await api.create(MAPS, config_map("a"))
    missing = MAPS.replace("default", "missing")
    assert (await api.send("POST", missing, config_map("a"))).status == 404
    found = await samples(api)
    count = "apiserver_admission_controller_admission_duration_seconds_count"
    given = {"name": "NamespaceLifecycle", "operation": "CREATE", "type": "admit"}
    assert one(found, count, rejected="false", **given) >= 1
    assert one(found, count, rejected="true", **given) == 1


async def test_what_goes_on_for_long_is_counted_until_it_ends() -> None:
    """A stream counts once, however it ends, and is told of its client's end."""
    counts = RequestMetrics(Metrics())
    kept = counts.of(request_info.parse(Request("GET", "/api/v1/namespaces/default/pods/p/log", ())))
    for close in (True, False):
        body = Foreign()
        stream = _UntilItsEnd(body, counts.began(kept))
        assert counts.long[kept.key] == 1
        if close:
            await stream.aclose()
            assert body.closed
        else:
            assert [chunk async for chunk in stream] == [b"x"]
            await stream.aclose()
        assert counts.long[kept.key] == 0


class Foreign:
    """A stream of one chunk from another server."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"

    async def aclose(self) -> None:
        self.closed = True


async def test_openmetrics_is_negotiated(api: Api) -> None:
    """A scraper that asks for it gets it, in a form that the reference parser takes."""
    answer = await api.send("GET", "/metrics", accept="application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = list(openmetrics.text_string_to_metric_families(answer.body.decode()))
    assert any(family.name == "apiserver_request" for family in families)


async def test_metrics_are_for_those_who_may(api: Api) -> None:
    """403 for the others; nothing is there for debugging, whoever asks."""
    for peer in (Peer(), Peer("jane")):
        assert (await api.send("GET", "/metrics", b"", peer)).status == 403
    assert (await api.send("GET", "/metrics", b"", Peer("prometheus", ("system:monitoring",)))).status == 200
    for path in (
        "/debug/pprof",
        "/debug/pprof/goroutine",
        "/debug/flags/v",
        "/debug/api_priority_and_fairness",
        "/logs",
    ):
        assert (await api.send("GET", path)).status == 404


async def test_what_callers_make_up_stays_bounded(api: Api) -> None:
    """A flood of unknown resources and paths does not grow the counters without end."""
    counts = api.app.counts
    for number in range(5000):
        counts.of(RequestInfo("/x", "get", True, f"g{number}", "v1", "things")).codes[404] = 1
    text = (await api.send("GET", "/metrics")).body
    assert text.count(b'group="g') < 4097 * 30
    found = await samples(api)
    assert one(found, "apiserver_request_total", group="other") > 0


async def full() -> str:
    return "it is full"


async def test_health_is_told_check_by_check(api: Api) -> None:
    """verbose, one by name, exclusions, and a failing check whose reason is withheld."""
    assert (await api.send("GET", "/readyz")).body == b"ok"
    verbose = (await api.send("GET", "/readyz?verbose")).body.decode()
    assert verbose.startswith("[+]ping ok\n[+]etcd ok\n")
    assert "[+]informer-sync ok\n" in verbose
    assert "[+]poststarthook/rbac/bootstrap-roles ok\n" in verbose
    assert verbose.endswith("readyz check passed\n")
    assert "informer-sync" not in (await api.send("GET", "/livez?verbose")).body.decode()
    assert (await api.send("GET", "/readyz/etcd")).body == b"ok"
    assert (await api.send("GET", "/livez/poststarthook/rbac/bootstrap-roles")).body == b"ok"
    assert (await api.send("GET", "/readyz/missing")).status == 404
    api.app.health.add("disk", full)
    failed = await api.send("GET", "/livez")
    assert failed.status == 500
    assert b"[-]disk failed: reason withheld\n" in failed.body
    assert b"full" not in failed.body
    assert (await api.send("GET", "/livez?exclude=disk")).status == 200
    excluded = (await api.send("GET", "/livez?exclude=disk&exclude=typo&verbose")).body.decode()
    assert "[+]disk excluded: ok\n" in excluded
    assert 'no matches for "typo"' in excluded


def lines(text: bytes) -> Iterable[str]:
    return text.decode().splitlines()


def test_histograms_and_labels_are_written_as_prometheus_reads_them() -> None:
    """Cumulative buckets, sums, escaped labels."""
    metrics = Metrics()
    histogram = metrics.histogram("h", "how long", (0.1, 1), ("a",))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.of('x"\n\\').observe(value)
    metrics.counter("c_total", "how many").add(by=2)
    (family,) = [f for f in text_string_to_metric_families(metrics.text("")[0].decode()) if f.name == "h"]
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name == "h_bucket"}
    assert buckets == {"0.1": 2, "1": 3, "+Inf": 4}
    assert {s.labels["a"] for s in family.samples} == {'x"\n\\'}
    assert math.isclose(next(s.value for s in family.samples if s.name == "h_sum"), 7.65)
    assert "c_total 2" in lines(metrics.text("")[0])


@pytest.mark.parametrize("name", ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"])
def test_the_process_is_counted(name: str) -> None:
    """Values of this process, read when asked."""
    metrics = Metrics()
    process_metrics.add(metrics)
    families = {
        s.name: s.value for f in text_string_to_metric_families(metrics.text("")[0].decode()) for s in f.samples
    }
    assert families[name] > 0


async def test_a_store_that_does_not_answer_is_a_failure() -> None:
    """Two seconds after a write that does not end, and no more once it ends."""
    clock, inner = Clock(), MemoryStore()
    store = MeteredStore(inner, Metrics(), clock)
    let_go = asyncio.Event()
    txn = inner.txn

    async def slow(compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        await let_go.wait()
        return await txn(compares, writes)

    inner.txn = slow  # type: ignore[method-assign]
    write = asyncio.ensure_future(store.txn((), [Put("/registry/core/secrets/a/b", b"")]))
    await asyncio.sleep(0)
    assert store.failure == ""
    clock.passed += 3
    assert store.failure != ""
    let_go.set()
    await write
    assert store.failure == ""
    await inner.close()


class Clock(SystemClock):
    """Seconds pass when a test says so."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed
