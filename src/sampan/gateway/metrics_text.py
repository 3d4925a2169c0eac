"""Metrics text: the figures of Services and routes in the form that Prometheus reads.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.gateway import route_stats
from sampan.gateway.route_stats import Figures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labelled = list[tuple[dict[str, str], Figures]]


def exposition(stats: Mapping[str, Any]) -> str:
    """All of them, with the labels namespace and service, or namespace, route and kind."""
    services: Labelled = [
        ({"namespace": namespace, "service": service}, figures)
        for (namespace, service), figures in sorted(route_stats.backends(stats).items())
    ]
    routes: Labelled = [
        ({"namespace": namespace, "route": name, "kind": kind}, figures)
        for (kind, namespace, name), figures in sorted(route_stats.routes(stats).items())
    ]
    lines = [*_family("sampan_gateway_service", services), *_family("sampan_gateway_route", routes)]
    return "\n".join([*lines, ""])


def _family(prefix: str, listed: Labelled) -> Iterator[str]:
    yield f"# HELP {prefix}_requests_total Requests by the class of the answer's code."
    yield f"# TYPE {prefix}_requests_total counter"
    for labels, figures in listed:
        for digit, count in sorted(figures.by_class.items()):
            yield f"{prefix}_requests_total{_labels(labels | {'code': f'{digit}xx'})} {count}"
    yield f"# HELP {prefix}_requests_in_flight Requests under way."
    yield f"# TYPE {prefix}_requests_in_flight gauge"
    for labels, figures in listed:
        yield f"{prefix}_requests_in_flight{_labels(labels)} {figures.active}"
    yield f"# HELP {prefix}_request_duration_seconds Time until the backend had answered."
    yield f"# TYPE {prefix}_request_duration_seconds histogram"
    for labels, figures in listed:
        yield from _histogram(f"{prefix}_request_duration_seconds", labels, figures)


def _histogram(name: str, labels: dict[str, str], figures: Figures) -> Iterator[str]:
    total = max(figures.buckets.values(), default=0)
    for bound, count in sorted(figures.buckets.items()):
        if bound != float("inf"):
            yield f"{name}_bucket{_labels(labels | {'le': f'{bound / 1000:g}'})} {count}"
    yield f"{name}_bucket{_labels(labels | {'le': '+Inf'})} {total}"
    yield f"{name}_sum{_labels(labels)} {figures.sum_ms / 1000:g}"
    yield f"{name}_count{_labels(labels)} {total}"


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{inner}}}"
