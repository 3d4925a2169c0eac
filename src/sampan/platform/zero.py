"""Down to zero: which autoscalers let their workload sleep, and how many replicas those who wait for it ask for.

Either as upstream has it, by minReplicas 0, or by an annotation, where the cluster takes no minReplicas of 0.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#scaling-to-and-from-zero
"""

import math
from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import objects, quantity

AFTER_SECONDS = "elastic.sampan.dev/scale-to-zero-after-seconds"
"""On an autoscaler: after so long without a request its workload goes to zero."""
RATES = ("requests_per_second", "gateway_requests_per_second", "sls_ingress_qps")
_MOST_DIGITS = 9
_HASHES = frozenset({"rollouts-pod-template-hash", "pod-template-hash"})
"""What controllers add to selectors and pods, while templates don't have it."""


def after_seconds(hpa: Object) -> float | None:
    """What the annotation says. None without one, and for one that is no positive number."""
    text = objects.annotations(hpa).get(AFTER_SECONDS, "")
    is_number = text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS
    return float(text) if is_number and int(text) > 0 else None


def may_sleep(hpa: Object) -> bool:
    """Whether a request may find the workload at zero, and has to wait for it."""
    if objects.is_deleting(hpa):
        return False
    return hpa["spec"].get("minReplicas") == 0 or after_seconds(hpa) is not None


def leads_to(service: Object, labels: dict[str, str]) -> bool:
    """Whether a Service is for pods with these labels."""
    selector = (service.get("spec") or {}).get("selector") or {}
    wanted = {name: value for name, value in selector.items() if name not in _HASHES}
    return bool(wanted) and wanted.items() <= labels.items()


def pod_labels(workload: Object) -> dict[str, str]:
    """Those that a workload gives its pods, so far as its template says it, or its selector.

    An autoscaler may name an object of any kind: one of another shape gives none.
    """
    spec = _within(workload, "spec")
    found = _within(spec, "template", "metadata", "labels") or _within(spec, "selector", "matchLabels")
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _within(tree: Any, *path: str) -> Mapping[str, Any]:
    """What is there, if it is a mapping."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def first_size(hpa: Object, waiting: int) -> int:
    """How many replicas to begin with for so many requests that wait: as if they had come within one second."""
    spec = hpa["spec"]
    least, most = max(int(spec.get("minReplicas") or 0), 1), int(spec.get("maxReplicas") or 1)
    return min(max([least, *(math.ceil(waiting / rate) for rate in _rates_per_pod(spec))]), most)


def _rates_per_pod(spec: Object) -> list[float]:
    """How many requests a second one pod is to get, by each metric that says so."""
    found = []
    for metric in spec.get("metrics") or ():
        source = metric.get("external") or metric.get("object") or {}
        average = (source.get("target") or {}).get("averageValue")
        if (source.get("metric") or {}).get("name") in RATES and average is not None:
            rate = quantity.to_milli(average) / 1000
            found += [rate] if rate > 0 else []
    return found
