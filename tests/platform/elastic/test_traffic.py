"""Rates and percentiles from two readings, and how the metrics APIs show them."""

import pytest

from sampan.platform.elastic import metrics_api, traffic
from sampan.platform.elastic.traffic import Reading

EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop"
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop"


def text(total: int, fast: int, slow: int, name: str = "web", family: str = "service", under_way: int = 0) -> str:
    """`fast` took at most a tenth of a second, `slow` up to one."""
    labels = f'namespace="shop",{family}="{name}"' + (',kind="HTTPRoute"' if family == "route" else "")
    start = f"sampan_gateway_{family}_"
    return "\n".join(
        (
            f"# TYPE {start}requests_total counter",
            f'{start}requests_total{{{labels},code="2xx"}} {total - 1}',
            f'{start}requests_total{{{labels},code="5xx"}} 1',
            f"{start}requests_in_flight{{{labels}}} {under_way}",
            f'{start}request_duration_seconds_bucket{{{labels},le="0.1"}} {fast}',
            f'{start}request_duration_seconds_bucket{{{labels},le="1"}} {fast + slow}',
            f'{start}request_duration_seconds_bucket{{{labels},le="+Inf"}} {fast + slow}',
            f"{start}request_duration_seconds_sum{{{labels}}} {fast * 0.05 + slow * 0.5}",
            "",
        )
    )


def readings(*pairs: tuple[float, str]) -> list[Reading]:
    return [traffic.read(said, at) for at, said in pairs]


BUSY = readings((0, text(100, 90, 10)), (15, text(250, 240, 10)), (30, text(700, 636, 64)))


def test_the_rate_is_of_the_window() -> None:
    """The latest reading against the youngest that is old enough, or the oldest there is."""
    key = ("Service", "shop", "web")
    assert [getattr(traffic.span(BUSY, [key], seconds), "per_second", None) for seconds in (10, 15, 30, 300)] == [
        30.0,
        30.0,
        20.0,
        20.0,
    ]
    assert traffic.span(BUSY[:1], [key], 15) is None
    assert traffic.span(BUSY, [("Service", "shop", "other")], 15) is None


def test_percentiles() -> None:
    """Between the bounds of a bucket they are spread evenly; without requests they are nothing."""
    span = traffic.span(BUSY, [("Service", "shop", "web")], 15)
    assert span is not None
    assert span.quantile(0.44) == pytest.approx(0.05)
    assert span.quantile(0.94) == pytest.approx(0.55)
    assert span.quantile(1.0) == pytest.approx(1.0)
    assert span.mean_seconds == pytest.approx((396 * 0.05 + 54 * 0.5) / 450)
    idle = traffic.span(readings((0, text(9, 9, 0)), (15, text(9, 9, 0))), [("Service", "shop", "web")], 15)
    assert idle is not None
    assert (idle.per_second, idle.quantile(0.99), idle.mean_seconds) == (0.0, 0.0, 0.0)


def test_beyond_the_last_bound() -> None:
    """What took longer than any bound counts as that bound."""
    slow = 'sampan_gateway_service_request_duration_seconds_bucket{namespace="shop",service="web",le="%s"} %d\n'
    made = readings((0, ""), (15, slow % ("1", 1) + slow % ("+Inf", 9)))
    span = traffic.span(made, [("Service", "shop", "web")], 15)
    assert span is not None
    assert span.quantile(0.99) == 1.0


def test_a_restart_of_the_gateway() -> None:
    """Counters that begin anew count from nothing."""
    made = readings((0, text(1000, 990, 10)), (10, text(50, 50, 0)))
    span = traffic.span(made, [("Service", "shop", "web")], 10)
    assert span is not None
    assert (span.per_second, span.quantile(0.5)) == (5.0, 0.05)


@pytest.mark.parametrize(
    ("metric", "selector", "value"),
    [
        ("gateway_requests_per_second", "service=web", "20"),
        ("gateway_requests_per_second", "", "20"),
        ("gateway_request_duration_p50", "service=web", "55m"),
        ("gateway_request_duration_p99", "service=web", "900m"),
        ("gateway_requests_per_second", "service=other", None),
        ("gateway_requests_per_second", "route=web", None),
        ("sls_ingress_qps", "sls.ingress.route=shop-web-80,sls.project=x,sls.logstore=y", "30"),
        ("sls_ingress_qps", "sls.ingress.route=shop-web-80,sls.query.interval=30", "20"),
        ("sls_ingress_qps", "sls.ingress.route=shop-we-80", None),
        ("sls_ingress_latency_p99", "sls.ingress.route=shop-web-80", "925"),
        ("sls_ingress_latency_avg", "sls.ingress.route=shop-web-80", "104"),
    ],
)
def test_external_metrics(metric: str, selector: str, value: str | None) -> None:
    """By Service or route of the namespace, or by the names and selectors of Alibaba's adapter."""
    found = metrics_api.answer(f"{EXTERNAL}/{metric}", {"labelSelector": selector}, BUSY)
    assert (found.code, found.tree["kind"]) == (200, "ExternalMetricValueList")
    assert [item["value"] for item in found.tree["items"]] == ([value] if value else [])


def of(*services: str, namespace: str = "shop") -> list[Reading]:
    """Ten requests a second to the first, a hundred to the second, and so on."""

    def said(seconds: int) -> str:
        each = (text(10**place * seconds + 1, 10**place * seconds, 0, name) for place, name in enumerate(services, 1))
        return "\n".join(each).replace('"shop"', f'"{namespace}"')

    return readings((0, said(0)), (30, said(30)))


@pytest.mark.parametrize(
    ("metric", "selector", "value"),
    [
        ("sls_ingress_qps", "sls.ingress.route=shop-web-api-80", "100"),
        ("sls_ingress_qps", "sls.ingress.route=shop-web-80", "10"),
        ("sls_ingress_qps", "sls.ingress.route=shop-web-http", "10"),
        ("sls_ingress_qps", "sls.ingress.route in (shop-web-80,shop-web-api-80)", "110"),
        ("sls_ingress_qps", "", "1110"),
        ("gateway_requests_per_second", "service!=web", "1100"),
        ("gateway_requests_per_second", "service in (web,db)", "1010"),
        ("gateway_requests_per_second", "service notin (web,db)", "100"),
        ("gateway_requests_per_second", "service=web,tier=front", None),
    ],
)
def test_what_a_selector_picks(metric: str, selector: str, value: str | None) -> None:
    """Each of its requirements counts, and a Service whose name begins like another's is another."""
    asked = {"labelSelector": selector}
    found = metrics_api.answer(f"{EXTERNAL}/{metric}", asked, of("web", "web-api", "db"))
    assert [item["value"] for item in found.tree["items"]] == ([value] if value else [])
    alien = metrics_api.answer(f"{EXTERNAL}/{metric}", asked, of("web", "web-api", "db", namespace="bank"))
    assert alien.tree["items"] == []


def test_only_the_namespace_that_is_asked_for() -> None:
    """Whoever may read the metrics of one namespace doesn't read those of another."""
    asked = {"labelSelector": "sls.ingress.route=bank-web-80"}
    assert metrics_api.answer(f"{EXTERNAL}/sls_ingress_qps", asked, of("web", namespace="bank")).tree["items"] == []
    theirs = EXTERNAL.replace("shop", "bank")
    assert metrics_api.answer(f"{theirs}/sls_ingress_qps", asked, of("web", namespace="bank")).tree["items"]


def test_what_a_route_can_not_be_asked_by() -> None:
    """The adapter's labels are no labels of Services."""
    asked = {"labelSelector": "sls.ingress.route!=shop-web-80"}
    assert metrics_api.answer(f"{EXTERNAL}/sls_ingress_qps", asked, BUSY).code == 400


def test_a_route_with_dots_in_its_name() -> None:
    """The gateway counts it with underscores."""
    made = readings((0, text(10, 10, 0, "web_v1", "route")), (10, text(20, 20, 0, "web_v1", "route")))
    path = f"{CUSTOM}/httproutes.gateway.networking.k8s.io/web.v1/requests_per_second"
    assert metrics_api.answer(path, {}, made).tree["items"][0]["value"] == "1"
    found = metrics_api.answer(f"{EXTERNAL}/gateway_requests_per_second", {"labelSelector": "route=web.v1"}, made)
    assert len(found.tree["items"]) == 1


def test_external_metrics_of_routes() -> None:
    """A route is named by `route`, and its kind where that matters."""
    made = readings((0, text(10, 10, 0, family="route")), (10, text(20, 20, 0, family="route")))
    for selector, count in (("route=web", 1), ("route=web,kind=HTTPRoute", 1), ("route=web,kind=Ingress", 0)):
        found = metrics_api.answer(f"{EXTERNAL}/gateway_requests_per_second", {"labelSelector": selector}, made)
        assert len(found.tree["items"]) == count


def test_custom_metrics() -> None:
    """A metric of one object, in both versions."""
    found = metrics_api.answer(f"{CUSTOM}/services/web/requests_per_second", {}, BUSY).tree
    assert found["kind"] == "MetricValueList"
    (item,) = found["items"]
    assert (item["metric"], item["value"], item["timestamp"]) == (
        {"name": "requests_per_second"},
        "20",
        "1970-01-01T00:00:30Z",
    )
    assert item["describedObject"] == {"kind": "Service", "namespace": "shop", "name": "web", "apiVersion": "v1"}
    older = metrics_api.answer(CUSTOM.replace("beta2", "beta1") + "/services/web/requests_per_second", {}, BUSY).tree
    assert older["items"][0]["metricName"] == "requests_per_second"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/apis/apps/v1",
        f"{EXTERNAL}/unheard_of",
        f"{CUSTOM}/services/other/requests_per_second",
        f"{CUSTOM}/services/web/unheard_of",
        f"{CUSTOM}/pods/web/requests_per_second",
        f"{CUSTOM}/services/web",
    ],
)
def test_what_there_is_not(path: str) -> None:
    """A Status says so."""
    found = metrics_api.answer(path, {}, BUSY)
    assert (found.code, found.tree["kind"], found.tree["reason"]) == (404, "Status", "NotFound")


def test_documents() -> None:
    """Groups, versions and what is in them."""
    groups = metrics_api.answer("/apis", {}, []).tree["groups"]
    assert [group["name"] for group in groups] == ["external.metrics.k8s.io", "custom.metrics.k8s.io"]
    listed = metrics_api.answer("/apis/external.metrics.k8s.io/v1beta1", {}, []).tree["resources"]
    assert {"sls_ingress_qps", "sls_ingress_latency_p99"} <= {entry["name"] for entry in listed}
    assert metrics_api.answer(f"{EXTERNAL}/sls_ingress_qps", {"labelSelector": "a b"}, BUSY).code == 400


def test_what_is_under_way_is_traffic_too() -> None:
    """A request that nobody has answered for long keeps the rate above nothing, and adds nothing to a greater one."""
    key = ("Service", "shop", "web")
    held = readings((0, text(9, 9, 0, under_way=3)), (60, text(9, 9, 0, under_way=3)))
    busy = readings((0, text(0, 0, 0, under_way=3)), (60, text(120, 120, 0, under_way=3)))
    found = [traffic.span(each, [key], 30) for each in (held, busy)]
    assert [round(span.per_second, 3) for span in found if span is not None] == [0.05, 2.0]
