"""What the gateway's traffic looks like in the custom and external metrics APIs, which autoscalers read.

External metrics are about Services or routes that a selector names. Those beginning with sls_ingress_ take the selectors
of Alibaba's adapter: `sls.ingress.route` is NAMESPACE-SERVICE-PORT, latencies are milliseconds. All others are seconds.

https://github.com/kubernetes/metrics
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.control.plan import CUSTOM_METRICS, EXTERNAL_METRICS
from sampan.meta import selectors, timestamps
from sampan.meta.selectors import Selector
from sampan.platform.elastic import traffic
from sampan.platform.elastic.traffic import Key, Reading, Span

Tree = dict[str, Any]

WINDOW_SECONDS = 30.0
SLS_SECONDS = 15.0
ROUTE, INTERVAL = "sls.ingress.route", "sls.query.interval"
VERSIONS = {EXTERNAL_METRICS: ("v1beta1",), CUSTOM_METRICS: ("v1beta2", "v1beta1")}
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p9999": 0.9999}
_ABOUT = {
    "services": ("v1", "Service"),
    "httproutes.gateway.networking.k8s.io": ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    "grpcroutes.gateway.networking.k8s.io": ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    "ingresses.networking.k8s.io": ("networking.k8s.io/v1", "Ingress"),
}

Measure = Callable[[Span], float]


def _quantile(share: float, factor: float) -> Measure:
    return lambda span: span.quantile(share) * factor


OBJECT_METRICS: Mapping[str, Measure] = {
    "requests_per_second": lambda span: span.per_second,
    **{f"request_duration_{name}": _quantile(_QUANTILES[name], 1.0) for name in ("p50", "p95", "p99")},
}
SLS_METRICS: Mapping[str, Measure] = {
    "sls_ingress_qps": lambda span: span.per_second,
    "sls_ingress_latency_avg": lambda span: span.mean_seconds * 1000,
    **{f"sls_ingress_latency_{name}": _quantile(share, 1000.0) for name, share in _QUANTILES.items()},
}
GATEWAY_METRICS: Mapping[str, Measure] = {f"gateway_{name}": measure for name, measure in OBJECT_METRICS.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status code and a document."""

    code: int
    tree: Tree


def answer(path: str, query: Mapping[str, str], readings: Sequence[Reading]) -> Answer:
    """What is at a path."""
    parts = path.strip("/").split("/")
    if parts == ["apis"]:
        return Answer(
            200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in VERSIONS]}
        )
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in VERSIONS:
        return Answer(200, {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1])})
    if len(parts) < 3 or parts[0] != "apis" or parts[2] not in VERSIONS.get(parts[1], ()):
        return _missing("the server could not find the requested resource")
    if len(parts) == 3:
        return Answer(200, _resources(parts[1], parts[2]))
    try:
        if parts[1] == EXTERNAL_METRICS and len(parts) == 6 and parts[3] == "namespaces":
            return _external(parts[4], parts[5], selectors.parse_labels(query.get("labelSelector", "")), readings)
        if parts[1] == CUSTOM_METRICS and len(parts) == 8 and parts[3] == "namespaces":
            return _custom(parts[2], (parts[5], parts[4], parts[6]), parts[7], readings)
    except ValueError as error:
        return _failure(400, "BadRequest", str(error))
    return _missing("the server could not find the requested resource")


# External


def _external(namespace: str, metric: str, selector: Selector, readings: Sequence[Reading]) -> Answer:
    measure = GATEWAY_METRICS.get(metric) or SLS_METRICS.get(metric)
    if measure is None:
        return _missing(f"no such metric: {metric}")
    said = selector.equalities()
    known = [key for key in readings[-1].counters if key[1] == namespace] if readings else []
    if metric in SLS_METRICS:
        keys, seconds = _of_routes(selector, known), max(_number(said.get(INTERVAL, "")), SLS_SECONDS)
    else:
        keys, seconds = _selected(selector, known), WINDOW_SECONDS
    span = traffic.span(readings, keys, seconds)
    items = [] if span is None else [_value(metric, said, measure(span), readings[-1].at, span.seconds)]
    version = VERSIONS[EXTERNAL_METRICS][0]
    listed = {"kind": "ExternalMetricValueList", "apiVersion": f"{EXTERNAL_METRICS}/{version}", "metadata": {}}
    return Answer(200, {**listed, "items": items})


def _of_routes(selector: Selector, known: Sequence[Key]) -> list[Key]:
    """Services by NAMESPACE-SERVICE-PORT; all of them where none is named. The other labels are the adapter's own."""
    found = {key for key in known if key[0] == "Service"}
    for each in selector.requirements:
        if each.key != ROUTE:
            continue
        if each.operator not in {"in", "=", "=="}:
            raise ValueError(f"{ROUTE} can only be given by = and in")
        found &= {key for key in found if any(_fits(key, route) for route in each.values)}
    return sorted(found)


def _fits(key: Key, route: str) -> bool:
    """`web-api-80` is port 80 of `web-api`, and not port api-80 of `web`."""
    return route.rpartition("-")[0] == f"{key[1]}-{key[2]}"


def _selected(selector: Selector, known: Sequence[Key]) -> list[Key]:
    """The routes that the selector picks, where it is about routes, or else the Services."""
    asked = {each.key for each in selector.requirements}
    if asked & {"route", "kind"}:
        routes = [key for key in known if key[0] != "Service"]
        return [key for key in routes if selector.matches({"route": key[2], "kind": key[0]})]
    return [key for key in known if key[0] == "Service" and selector.matches({"service": key[2]})]


def _number(text: str) -> float:
    return float(text) if text.isdigit() else 0.0


def _value(metric: str, labels: Mapping[str, str], value: float, at: float, seconds: float) -> Tree:
    return {
        "metricName": metric,
        "metricLabels": dict(labels),
        "timestamp": timestamps.format(at),
        "windowSeconds": round(seconds),
        "value": quantity(value),
    }


# Custom


def _custom(version: str, about: tuple[str, str, str], metric: str, readings: Sequence[Reading]) -> Answer:
    """A metric of one object: (plural.group, namespace, name)."""
    plural, namespace, name = about
    measure, described = OBJECT_METRICS.get(metric), _ABOUT.get(plural)
    if measure is None or described is None:
        return _missing(f"the server could not find the metric {metric} for {plural} {name}")
    span = traffic.span(readings, [(described[1], namespace, name)], WINDOW_SECONDS)
    if span is None:
        return _missing(f"the server could not find the metric {metric} for {plural} {name}")
    reference = {"kind": described[1], "namespace": namespace, "name": name, "apiVersion": described[0]}
    named = {"metric": {"name": metric}} if version == "v1beta2" else {"metricName": metric}
    item = {
        "describedObject": reference,
        **named,
        "timestamp": timestamps.format(readings[-1].at),
        "windowSeconds": round(span.seconds),
        "value": quantity(measure(span)),
    }
    listed = {"kind": "MetricValueList", "apiVersion": f"{CUSTOM_METRICS}/{version}", "metadata": {}}
    return Answer(200, {**listed, "items": [item]})


def quantity(value: float) -> str:
    """To the thousandth."""
    thousandths = round(value * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


# Documents


def _group(group: str) -> Tree:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in VERSIONS[group]]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resources(group: str, version: str) -> Tree:
    if group == EXTERNAL_METRICS:
        names, kind = sorted([*GATEWAY_METRICS, *SLS_METRICS]), "ExternalMetricValueList"
    else:
        names, kind = [f"{plural}/{metric}" for plural in _ABOUT for metric in OBJECT_METRICS], "MetricValueList"
    listed = [{"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]} for name in names]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}", "resources": listed}


def _missing(message: str) -> Answer:
    return _failure(404, "NotFound", message)


def _failure(code: int, reason: str, message: str) -> Answer:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return Answer(code, {**status, "message": message, "reason": reason, "code": code})
