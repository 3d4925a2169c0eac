"""/metrics under the reference server's names: every family counts what it says, over each transport and store."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from sampan.cluster import wiring, workers
from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.server import process_metrics, request_info, server_metrics, watching
from sampan.server.request_metrics import spend_elsewhere
from sampan.web.message import Peer, Request
from tests.server import custom, test_webhooks
from tests.server.conftest import ADMIN, Api, Https, Tree, config_map
from tests.server.test_metrics import MAPS, SECRETS, one, samples, secret
from tests.server.webhook_server import running

PARSED = "_total"  # the parser adds it to counters whose names have none
REQUEST = {"group": "", "version": "v1", "component": "apiserver"}


async def types(api: Api) -> dict[str, tuple[str, str]]:
    """Type and help of each family, by the name in the text."""
    found: dict[str, tuple[str, str]] = {}
    text = (await api.send("GET", "/metrics")).body.decode()
    lines = [line.split(" ", 3) for line in text.splitlines() if line.startswith("# ")]
    for (_, _, name, help), (_, _, _, kind) in zip(lines[::2], lines[1::2], strict=True):
        found[name] = (kind, help)
    return found


async def test_families_have_upstreams_types_and_promises(api: Api) -> None:
    """STABLE, BETA or ALPHA before the help, and the types that dashboards expect."""
    await api.create(MAPS, config_map("a"))
    await api.get(MAPS)
    assert b'\nauthentication_attempts{result="success"} ' in (await api.send("GET", "/metrics")).body
    found = await types(api)
    for name, kind, promise in (
        ("apiserver_request_total", "counter", "STABLE"),
        ("apiserver_request_duration_seconds", "histogram", "STABLE"),
        ("apiserver_response_sizes", "histogram", "STABLE"),
        ("apiserver_storage_objects", "gauge", "STABLE"),
        ("apiserver_flowcontrol_nominal_limit_seats", "gauge", "BETA"),
        ("apiserver_request_sli_duration_seconds", "histogram", "ALPHA"),
        ("authentication_attempts", "counter", "ALPHA"),
        ("authenticated_user_requests", "counter", "ALPHA"),
        ("kubernetes_build_info", "gauge", "ALPHA"),
    ):
        assert found[name][0] == kind, name
        assert found[name][1].startswith(f"[{promise}] "), name


async def test_durations_come_with_and_without_the_time_of_others(api: Api) -> None:
    """By dry run; the objective's buckets begin at 50 ms, and leave out what a webhook or a queue took."""
    await api.create(SECRETS, secret("a"))
    await api.send("POST", f"{SECRETS}?dryRun=All", secret("b"))
    await api.send("POST", f"{SECRETS}?dryRun=none", secret("c"))
    record = api.app.counts.of(request_info.parse(Request("POST", SECRETS)))
    record.spare(30.0, 29.0)  # as if one of them had taken half a minute, most of it elsewhere
    record.codes[201] += 1
    record.seconds += 30.0
    record.slow[-4] += 1
    found = await samples(api)
    what = {**REQUEST, "verb": "POST", "resource": "secrets", "subresource": "", "scope": "namespace"}
    seconds, own = "apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds"
    assert one(found, f"{seconds}_count", dry_run="", **what) == 2
    assert one(found, f"{seconds}_count", dry_run="All", **what) == 1
    assert one(found, f"{seconds}_count", dry_run="invalid", **what) == 1
    assert one(found, f"{own}_count", **what) == 4
    assert one(found, f"{seconds}_bucket", le="0.005", **what) >= 0
    assert {dict(key)["le"] for name, key in found if name == f"{own}_bucket"} == {
        "0.05", "0.1", "0.2", "0.4", "0.6", "0.8", "1", "1.25", "1.5", "2", "3", "4", "5", "6", "8", "10", "15", "20",
        "30", "45", "60", "+Inf",
    }  # fmt: skip
    assert one(found, f"{seconds}_bucket", dry_run="", le="20", **what) == 1
    assert one(found, f"{own}_bucket", le="20", **what) == 4
    assert 30 <= one(found, f"{seconds}_sum", dry_run="", **what) < 40
    assert 1 <= one(found, f"{own}_sum", **what) < 11


async def test_the_time_of_others_is_theirs(api: Api, tmp_path: Path) -> None:
    """Two webhooks one after the other, then two at a time."""
    async with running(tmp_path / "hook") as server:
        for name in ("a", "b"):
            await test_webhooks.mutating(api, server.client(), name)
            await test_webhooks.validating(api, server.client(), name)
        await api.create(MAPS, config_map("a"))
    record = api.app.counts.of(request_info.parse(Request("POST", MAPS)))
    found, what = await samples(api), {"verb": "POST", "resource": "configmaps"}
    seconds = one(found, "apiserver_request_duration_seconds_sum", **what)
    own = one(found, "apiserver_request_sli_duration_seconds_sum", **what)
    asked = "apiserver_admission_webhook_admission_duration_seconds"
    assert one(found, f"{asked}_count", operation="CREATE") == 4
    assert 0 < record.spared_seconds == pytest.approx(seconds - own)
    assert one(found, f"{asked}_sum", type="admit") < record.spared_seconds <= one(found, f"{asked}_sum") + 1e-6


async def test_the_time_in_a_queue_is_not_the_servers(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is where a request stands for a moment that is not let in at once."""
    monkeypatch.setattr(api.app.flow, "admit", lambda user, info, seats: None)
    assert (await api.send("GET", f"{MAPS}/a", b"", Peer("jane"))).status == 403
    monkeypatch.undo()
    record = api.app.counts.of(request_info.parse(Request("GET", f"{MAPS}/a")))
    assert 0 < record.spared_seconds < record.seconds
    what = {"verb": "GET", "resource": "configmaps", "scope": "resource"}
    found = await samples(api)
    assert one(found, "apiserver_request_sli_duration_seconds_sum", **what) == pytest.approx(
        record.seconds - record.spared_seconds
    )


def test_times_that_overlap_count_once() -> None:
    """Of two calls at the same time, from the start of the first to the end of the last."""
    request = Request("POST", MAPS)
    for started, ended in ((1.0, 2.0), (5.0, 7.0), (5.5, 6.0), (6.0, 8.0)):
        spend_elsewhere(request, started, ended)
    assert request.others_seconds == 4.0


async def test_answers_are_sized(api: Api) -> None:
    """Of GET and LIST only, in powers of ten from 1 kB."""
    await api.create(MAPS, config_map("a", text="x" * 2000))
    await api.create(MAPS, config_map("b"))
    for name in ("a", "b", "b"):
        await api.get(f"{MAPS}/{name}")
    found, name = await samples(api), "apiserver_response_sizes"
    what = {**REQUEST, "verb": "GET", "resource": "configmaps", "subresource": "", "scope": "resource"}
    assert one(found, f"{name}_count", **what) == 3
    assert one(found, f"{name}_bucket", le="1000", **what) == 2
    assert one(found, f"{name}_bucket", le="10000", **what) == 3
    assert one(found, f"{name}_bucket", le="1000000000", **what) == 3
    assert one(found, f"{name}_sum", **what) > 2000
    assert not [key for n, key in found if n == f"{name}_count" and ("verb", "POST") in key]


async def test_requests_for_what_is_not_a_resource_are_told_apart(api: Api) -> None:
    """By the root of their path, where there is such a root; all others together."""
    for path in ("/healthz", "/version", "/version", "/nonsense", "/other"):
        await api.send("GET", path)
    found, name = await samples(api), "apiserver_request_total"
    assert one(found, name, verb="GET", subresource="/healthz", code="200") == 1
    assert one(found, name, verb="GET", subresource="/version", code="200") == 2
    assert one(found, name, verb="GET", resource="", subresource="", code="404") == 2


async def test_a_kind_that_comes_later_is_counted_by_its_name(api: Api) -> None:
    """A path that named nothing is remembered for nothing."""
    path = "/apis/example.com/v1/namespaces/default/widgets"
    assert (await api.send("GET", path)).status == 404
    definition = custom.crd()
    definition["spec"]["versions"][0]["deprecated"] = True
    await custom.establish(api, definition)
    assert (await api.send("GET", path)).status == 200
    found = await samples(api)
    assert one(found, "apiserver_request_total", verb="LIST", resource="widgets", code="200") == 1
    assert one(found, "apiserver_request_total", verb="LIST", resource="other", code="404") >= 1
    what = {"group": "example.com", "version": "v1", "resource": "widgets", "subresource": "", "removed_release": ""}
    assert one(found, "apiserver_requested_deprecated_apis", **what) == 1


async def test_deprecated_apis_are_told_once_they_are_asked_for(api: Api) -> None:
    """A gauge of 1, by group, version, resource, subresource and the release that removes it."""
    name = "apiserver_requested_deprecated_apis"
    assert not [key for n, key in await samples(api) if n == name and ("resource", "componentstatuses") in key]
    await api.get("/api/v1/componentstatuses")
    what = {"group": "", "version": "v1", "resource": "componentstatuses", "subresource": "", "removed_release": ""}
    assert one(await samples(api), name, **what) == 1
    assert not [key for n, key in await samples(api) if n == name and ("resource", "configmaps") in key]


async def test_who_comes_is_counted(api: Api) -> None:
    """Attempts and their durations by result, users in few groups; a token that does not hold is an error."""
    before = await samples(api)
    await api.send("GET", "/version", b"", Peer("kubelet"))
    await api.send("GET", "/version", b"", Peer("jane@example.com"))
    await api.send("GET", "/version", b"", Peer("jane"))
    assert (await api.send("GET", "/version", b"", Peer(), authorization="Bearer wrong")).status == 401
    found = await samples(api)
    for name in (f"authentication_attempts{PARSED}", "authentication_duration_seconds_count"):
        assert one(found, name, result="success") - one(before, name, result="success") == 4  # with the first look
        assert one(found, name, result="error") == 1
    assert one(found, f"authenticated_user_requests{PARSED}", username="kubelet") == 1
    assert one(found, f"authenticated_user_requests{PARSED}", username="email_id") == 1
    other = {"username": "other"}
    users = f"authenticated_user_requests{PARSED}"
    assert one(found, users, **other) - one(before, users, **other) == 2
    assert not [key for name, key in found if ("username", "jane") in key]
    assert one(found, "authentication_duration_seconds_bucket", result="success", le="16.384") > 1


async def test_users_who_make_up_names_stay_few(api: Api) -> None:
    """Names are merged before they are too many, and none is lost."""
    access = api.app.counts.access
    before = sum(access.names.values())
    for number in range(5000):
        access.new_name(f"user-{number}")
    assert len(access.names) <= 4096
    assert sum(access.names.values()) == before + 5000


async def test_who_may_is_counted(api: Api) -> None:
    """Allowed, or no opinion: RBAC never denies."""
    name = "authorization_attempts_total"
    before = await samples(api)
    assert (await api.send("GET", SECRETS, b"", Peer("jane"))).status == 403
    assert (await api.send("GET", SECRETS)).status == 200
    found = await samples(api)
    assert one(found, name, result="allowed") - one(before, name, result="allowed") == 2  # with the first look
    assert one(found, name, result="no-opinion") == 1
    assert one(found, "authorization_duration_seconds_count", result="no-opinion") == 1
    assert one(found, "authorization_duration_seconds_bucket", result="no-opinion", le="+Inf") == 1


async def test_watch_events_are_counted(api: Api) -> None:
    """What is there at first, each change, and the sizes of their frames."""
    await api.create(MAPS, config_map("a", text="x" * 3000))
    query = (("watch", "true"), ("timeoutSeconds", "100"))
    frames = aiter((await api.app.handle(Request("GET", MAPS, query, {}, b"", ADMIN))).body)  # type: ignore[arg-type]
    await anext(frames)
    before = await samples(api)
    await api.create(MAPS, config_map("b"))
    await anext(frames)
    await frames.aclose()  # type: ignore[attr-defined]
    found, what = await samples(api), {"group": "", "version": "v1", "resource": "configmaps"}
    count = "apiserver_watch_events_total"
    assert one(found, count, **what) - one(before, count, **what) == 1
    assert one(before, "apiserver_init_events_total", group="", resource="configmaps") == one(before, count, **what)
    sizes = "apiserver_watch_events_sizes"
    assert one(found, f"{sizes}_count", **what) == one(found, count, **what)
    assert one(found, f"{sizes}_bucket", le="1024", **what) - one(before, f"{sizes}_bucket", le="1024", **what) == 1
    assert one(found, f"{sizes}_bucket", le="2048", **what) < one(found, f"{sizes}_bucket", le="4096", **what)


async def test_watchers_that_fall_behind_are_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, by resource."""
    monkeypatch.setattr(watching, "BUFFER_EVENTS", 2)
    response = await api.app.handle(Request("GET", MAPS, (("watch", "true"),), {}, b"", ADMIN))
    for name in ("a", "b", "c"):
        await api.create(MAPS, config_map(name))
    assert [b'"code":410' in chunk async for chunk in response.body][-1]  # type: ignore[union-attr]
    assert one(await samples(api), "apiserver_terminated_watchers_total", group="", resource="configmaps") == 1


async def test_stored_objects_are_counted_and_sized(api: Api, request: pytest.FixtureRequest) -> None:
    """By group and resource, and the old way; the store's file where there is one."""
    before = await samples(api)
    await api.create(MAPS, config_map("a", text="x" * 3000))
    found = await samples(api)
    for name, labels in (
        ("apiserver_resource_objects", {"group": "", "resource": "configmaps"}),
        ("apiserver_storage_objects", {"resource": "configmaps"}),
    ):
        assert one(found, name, **labels) - one(before, name, **labels) == 1
    assert one(found, "apiserver_resource_objects", group="rbac.authorization.k8s.io", resource="clusterroles") > 60
    size, labels = "apiserver_resource_size_estimate_bytes", {"group": "", "resource": "configmaps"}
    assert 3000 < one(found, size, **labels) - one(before, size, **labels) < 4000
    name = "apiserver_storage_size_bytes"
    if request.node.name.endswith("memory]"):
        assert name not in {n for n, _ in found}
    else:
        assert one(found, name, storage_cluster_id="etcd-0") > 10_000


async def test_the_store_is_counted_by_group_and_resource(api: Api) -> None:
    """Requests and their durations by operation."""
    await api.create(MAPS, config_map("a"))
    await api.delete(f"{MAPS}/a")
    found = await samples(api)
    for operation in ("create", "delete"):
        what = {"operation": operation, "group": "", "resource": "configmaps"}
        assert one(found, "etcd_requests_total", **what) >= 1
        assert one(found, "etcd_request_duration_seconds_count", **what) == one(found, "etcd_requests_total", **what)


async def test_what_runs_is_told(api: Api) -> None:
    """As /version does."""
    version = await api.get("/version")
    what = {"major": "1", "minor": "36", "git_version": version["gitVersion"], "platform": version["platform"]}
    assert one(await samples(api), "kubernetes_build_info", compiler=version["compiler"], **what) == 1


async def test_what_came_of_health_checks_is_told_apart(api: Api) -> None:
    """At /metrics/slis, and only there: the last result and the number of results of each check, by what asked for all."""
    for path in ("/readyz", "/readyz?verbose&exclude=etcd", "/livez/ping"):
        await api.send("GET", path)
    text = (await api.send("GET", "/metrics/slis")).body.decode()
    assert "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.\n" in text
    assert '\nkubernetes_healthcheck{name="ping",type="readyz"} 1\n' in text
    assert '\nkubernetes_healthchecks_total{name="ping",status="success",type="readyz"} 2\n' in text
    assert '\nkubernetes_healthchecks_total{name="etcd",status="success",type="readyz"} 1\n' in text
    assert "livez" not in text
    assert b"kubernetes_healthcheck" not in (await api.send("GET", "/metrics")).body
    assert "/metrics/slis" in (await api.get("/"))["paths"]


async def test_extension_servers_that_cannot_be_used_are_counted(api: Api) -> None:
    """A gauge for each APIService; a counter of how often one came to that, by reason."""
    spec = {
        "group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
        "insecureSkipTLSVerify": True, "service": {"namespace": "default", "name": "missing", "port": 443},
    }  # fmt: skip
    name, path = "v1.wardle.example.com", "/apis/apiregistration.k8s.io/v1/apiservices"
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": spec,
    }
    await api.create(path, service)
    latest: Tree = {}

    async def is_told() -> bool:
        latest.update(await api.get(f"{path}/{name}"))
        said = [c["reason"] for c in (latest.get("status") or {}).get("conditions") or ()]
        return said == ["ServiceNotFound"]

    await custom.settled(api, is_told, APISERVICE)
    found, counter = await samples(api), "aggregator_unavailable_apiservice_total"
    assert one(found, "aggregator_unavailable_apiservice", name=name) == 1
    assert one(found, "aggregator_unavailable_apiservice", name="v1.apps") == 0
    assert not [key for n, key in found if n == counter]  # it never could be used
    passed = {"conditions": [{"type": "Available", "status": "True", "reason": "Passed"}]}
    await api.put(f"{path}/{name}/status", {**latest, "status": passed})
    await custom.settled(api, is_told, APISERVICE)
    assert one(await samples(api), counter, name=name, reason="ServiceNotFound") == 1


async def test_handshakes_that_fail_are_counted(api: Api) -> None:
    """One that is no TLS at all; one that holds counts for nothing."""
    if not isinstance(api.door, Https):
        return
    port = await api.door.port()
    server_metrics.handshakes(api.app.metrics, api.door.handshakes)
    name = "apiserver_tls_handshake_errors_total"
    assert one(await samples(api), name) == 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()
    assert one(await samples(api), name) == 1


async def test_the_process_is_told(api: Api) -> None:
    """Start, processor time, memory and files."""
    process_metrics.add(api.app.metrics)
    found = await samples(api)
    for name in ("start_time_seconds", "cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds"):
        assert one(found, f"process_{name}") > 0


async def test_the_controllers_own_requests_are_counted(api: Api) -> None:
    """By code and method, with their durations; so are the queues that they work off."""
    tasks = Tasks("controllers")
    working = workers.workers(api.app, "authority", wiring.Surroundings(api.clock, SeededIds(2), tasks))
    await working.start()
    found = await samples(api)
    await working.stop()
    await tasks.close()
    what = {"method": "GET", "code": "200", "host": "in-process"}
    assert one(found, "rest_client_requests_total", **what) > 10
    seconds = "rest_client_request_duration_seconds"
    assert one(found, f"{seconds}_count", verb="GET", host="in-process") >= one(
        found, "rest_client_requests_total", **what
    )
    assert one(found, f"{seconds}_bucket", verb="GET", le="60") > 10
    assert one(found, "workqueue_adds_total", name="namespace-controller") > 0
    assert one(found, "workqueue_depth", name="namespace-controller") >= 0
    assert one(found, "workqueue_retries_total", name="namespace-controller") == 0
