"""What the gateway of this project says of a Service's requests within a while: how many, how many went well, how long they took.

Counters are read at the beginning and at the end of a measurement. They are in the form that Prometheus reads.
"""

import math
import re
from collections.abc import Mapping

from sampan.kinds.kind import Kind, Object
from sampan.meta import objects
from sampan.platform.rollouts import durations

PLUGIN = "sampan/gateway"
FIELDS = {"service", "namespace", "measure", "window"}
MEASURES = ("successRate", "requestsPerSecond", "p50", "p90", "p95", "p99")
WINDOW_SECONDS = 10
GATEWAYCLASS = Kind(
    group="gateway.networking.k8s.io", versions=("v1",), name="GatewayClass", plural="gatewayclasses", scope="Cluster"
)
CLASS_KEY = ("", "sampan")
_ADDRESS, _PORT = "gateway.sampan.dev/proxy-address", "gateway.sampan.dev/metrics-port"
_LINE = re.compile(r"sampan_gateway_service_(requests_total|request_duration_seconds_bucket)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Counters = dict[str, float]
"""By the class of codes (2xx), or by the bound of a bucket (le=0.1)."""


def wrong(given: Object) -> str:
    """FIELD: why; "" for a sound one."""
    if unknown := sorted(set(given) - FIELDS):
        return f"{unknown[0]}: is not supported"
    if not given.get("service"):
        return "service: a Service must be named"
    if given.get("measure", MEASURES[0]) not in MEASURES:
        return f"measure: must be one of {', '.join(MEASURES)}"
    try:
        is_positive = window(given) > 0
    except ValueError as error:
        return f"window: {error}"
    return "" if is_positive else "window: must be longer than nothing"


def window(given: Object) -> float:
    """Seconds between the two readings."""
    return durations.seconds(given.get("window") or WINDOW_SECONDS)


def url(gateway_class: Object | None) -> str:
    """Where the counters are; "" where no gateway tells."""
    told = objects.annotations(gateway_class) if gateway_class is not None else {}
    address = told.get(_ADDRESS, "")
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{told.get(_PORT, '80')}/metrics" if address else ""


def counters(text: str, namespace: str, service: str) -> Counters:
    """Those of a Service."""
    found: Counters = {}
    for kind, inner, value in _LINE.findall(text):
        labels = dict(_LABEL.findall(inner))
        if (labels.get("namespace"), labels.get("service")) == (namespace, service):
            name = labels.get("code", "") if kind == "requests_total" else f"le={labels.get('le')}"
            found[name] = found.get(name, 0.0) + float(value)
    return found


def value(given: Object, before: Mapping[str, float], after: Counters, seconds: float) -> list[float]:
    """As a vector of Prometheus: one number, or none where there were no requests. A smaller counter began anew."""
    gained = {
        name: count - (before.get(name, 0.0) if count >= before.get(name, 0.0) else 0) for name, count in after.items()
    }
    requests = sum(count for name, count in gained.items() if not name.startswith("le="))
    measure = given.get("measure", MEASURES[0])
    if measure == "requestsPerSecond":
        return [requests / seconds]
    if measure == "successRate":
        return [1 - gained.get("5xx", 0.0) / requests] if requests else []
    bounds = sorted((float(name[3:]), count) for name, count in gained.items() if name.startswith("le="))
    return _quantile(bounds, int(measure[1:]) / 100)


def _quantile(buckets: list[tuple[float, float]], share: float) -> list[float]:
    """Within a bucket requests are thought of as spread evenly."""
    total = buckets[-1][1] if buckets else 0.0
    lower, below = 0.0, 0.0
    for bound, count in buckets if total else ():
        if count >= share * total and count > below:
            return [lower if math.isinf(bound) else lower + (bound - lower) * (share * total - below) / (count - below)]
        lower, below = bound, count
    return []
