"""One metric of an autoscaler: what is to be asked for it, and how many replicas the answer speaks for.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#support-for-metrics-apis
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.control import autoscaling_replicas, selector_text
from sampan.control.autoscaling_replicas import Crowd, Measured, MetricError, Proposal
from sampan.control.plan import CUSTOM_METRICS, EXTERNAL_METRICS, RESOURCE_METRICS, AskMetrics
from sampan.kinds.kind import Object
from sampan.meta import quantity, selectors, timestamps

USUAL_WINDOW = 60.0
FIELDS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
_NO_RESOURCE_TARGET = (
    "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
)
_NO_TARGET = "invalid {} metric source: neither a value target nor an average value target was set"

Answer = Sequence[Object] | str


@dataclass(frozen=True, slots=True)
class Scene:
    """What an autoscaler's metrics are about; `present` is how many pods the target says there are."""

    namespace: str
    selector: str
    crowd: Crowd
    present: int


@dataclass(frozen=True, slots=True)
class Found:
    """So many replicas because of the metric of this name; `status` goes into status.currentMetrics."""

    replicas: int
    name: str
    status: Object


class Failed(Exception):
    """What is told where a metric says nothing: an event's reason, its text, and the text for the whole."""

    def __init__(self, reason: str, text: str, whole: str) -> None:
        super().__init__(whole)
        self.reason, self.text, self.whole = reason, text, whole


def question(metric: Object, scene: Scene) -> AskMetrics:
    """What is to be asked. Raises Failed for a selector that is none."""
    kind = metric["type"]
    source = metric[FIELDS[kind]]
    if kind in ("Resource", "ContainerResource"):
        return AskMetrics(RESOURCE_METRICS, scene.namespace, scene.selector)
    name = source["metric"]["name"]
    try:
        chosen = str(selectors.from_label_selector(source["metric"].get("selector")))
    except ValueError as error:
        raise _failed(metric, str(error), str(error)) from error
    if kind == "External":
        return AskMetrics(EXTERNAL_METRICS, scene.namespace, chosen, name)
    if kind == "Pods":
        return AskMetrics(CUSTOM_METRICS, scene.namespace, scene.selector, name, chosen)
    about = source["describedObject"]
    where = (about.get("apiVersion") or "v1", about["kind"], about["name"])
    return AskMetrics(CUSTOM_METRICS, scene.namespace, "", name, chosen, where)


def found(metric: Object, scene: Scene, answer: Answer) -> Found:
    """What the answer speaks for. Raises Failed."""
    match metric["type"]:
        case "Pods":
            return _of_pods(metric, scene, answer)
        case "Object":
            return _of_object(metric, scene, answer)
        case "External":
            return _of_outside(metric, scene, answer)
    return _of_resource(metric, scene, answer)


def _failed(metric: Object, text: str, inner: str) -> Failed:
    kind = metric["type"]
    source = metric[FIELDS[kind]]
    named = {
        "Resource": f"{source.get('name')} resource",
        "ContainerResource": f"{source.get('container')} container",
        "Pods": "pods",
        "Object": "object",
        "External": f"{(source.get('metric') or {}).get('name')} external",
    }
    return Failed(f"FailedGet{kind}Metric", text, f"failed to get {named[kind]} metric value: {inner}")


def _status(metric: Object, current: Mapping[str, Any]) -> Object:
    """A source with what it says now in the place of the target."""
    field = FIELDS[metric["type"]]
    source = {name: value for name, value in metric[field].items() if name != "target"}
    return {"type": metric["type"], field: {**source, "current": dict(current)}}


def _milli(value: int) -> str:
    return str(quantity.of_milli(value))


# The pods' resources


def _of_resource(metric: Object, scene: Scene, answer: Answer) -> Found:
    source = metric[FIELDS[metric["type"]]]
    resource, container, target = source["name"], source.get("container", ""), source.get("target") or {}
    average, percent = target.get("averageValue"), target.get("averageUtilization")
    if average is None and percent is None:
        raise _failed(metric, _NO_RESOURCE_TARGET, _NO_RESOURCE_TARGET)
    try:
        figures = _resource_figures(answer, resource, container)
        if average is not None:
            made = autoscaling_replicas.of_average(scene.crowd, figures, resource, quantity.to_milli(average))
            return Found(made.replicas, f"{resource} resource", _status(metric, {"averageValue": _milli(made.used)}))
        made = autoscaling_replicas.of_share(scene.crowd, figures, resource, int(percent or 0), container)
    except MetricError as error:
        text = f"failed to get {resource} {'utilization' if average is None else 'usage'}: {error}"
        raise _failed(metric, text, text) from error
    current = {"averageValue": _milli(made.used), "averageUtilization": made.share}
    of = "container resource" if container else "resource"
    return Found(made.replicas, f"{resource} {of} utilization (percentage of request)", _status(metric, current))


def _resource_figures(answer: Answer, resource: str, container: str) -> dict[str, Measured]:
    head = f"unable to get metrics for resource {resource}: "
    items = _items(answer, "resource", head)
    figures = {}
    for item in items:
        listed = item.get("containers") or ()
        if container:
            listed = [c for c in listed if c["name"] == container]
            if not listed:
                where = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
                text = f"container {container} not present in metrics for pod {where}"
                raise MetricError(f"{head}failed to get container metrics: {text}")
        amounts = [c["usage"].get(resource) for c in listed]
        if amounts and None not in amounts:
            value = sum(quantity.to_milli(amount) for amount in amounts)
            at = timestamps.parse(item["timestamp"])
            figures[str(item["metadata"]["name"])] = Measured(value, at, seconds(item["window"]))
    return figures


def seconds(text: str) -> float:
    """A duration of the metrics API, such as 1m0.5s."""
    total, number = 0.0, ""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    for letter in text.replace("ms", "x"):
        if letter in "hmsx":
            total += float(number or 0) * units.get(letter, 0.001)
            number = ""
        else:
            number += letter
    return total


def _items(answer: Answer, api: str, head: str) -> Sequence[Object]:
    """Raises MetricError for an error, and where there are none."""
    if isinstance(answer, str):
        raise MetricError(f"{head}unable to fetch metrics from {api} metrics API: {answer}")
    if not answer:
        raise MetricError(f"{head}no metrics returned from {api} metrics API")
    return answer


# Metrics that others provide


def _of_pods(metric: Object, scene: Scene, answer: Answer) -> Found:
    source = metric["pods"]
    name, target = source["metric"]["name"], quantity.to_milli(source["target"]["averageValue"])
    try:
        items = _items(answer, "custom", f"unable to get metric {name}: ")
        figures = {str(item["describedObject"]["name"]): _measured(item) for item in items}
        made = autoscaling_replicas.of_average(scene.crowd, figures, "", target)
    except MetricError as error:
        raise _failed(metric, str(error), str(error)) from error
    return Found(made.replicas, f"pods metric {name}", _status(metric, {"averageValue": _milli(made.used)}))


def _measured(item: Object) -> Measured:
    window = item.get("windowSeconds", item.get("window"))
    at = timestamps.parse(item["timestamp"])
    return Measured(quantity.to_milli(item["value"]), at, USUAL_WINDOW if window is None else float(window))


def _of_object(metric: Object, scene: Scene, answer: Answer) -> Found:
    source = metric["object"]
    name, about, target = source["metric"]["name"], source["describedObject"], source["target"]
    try:
        value = _object_value(answer, name, about, scene.namespace)
        made = _proposal(scene, target, value)
    except MetricError as error:
        whole = str(error)
        if target.get("type") == "AverageValue":
            whole = f"failed to get {name} object metric: {error}"
        raise _failed(metric, str(error), whole) from error
    if made is None:
        text = _NO_TARGET.format("object")
        raise _failed(metric, text, text)
    if target.get("type") == "AverageValue":
        called = f"external metric {name}({selector_text.shown(source['metric'].get('selector'))})"
        return Found(made.replicas, called, _status(metric, {"averageValue": _milli(made.used)}))
    return Found(made.replicas, f"{about['kind']} metric {name}", _status(metric, {"value": _milli(made.used)}))


def _object_value(answer: Answer, name: str, about: Object, namespace: str) -> int:
    if isinstance(answer, str):
        text = f"unable to fetch metrics from custom metrics API: {answer}"
    elif len(answer) != 1:
        text = (
            "unable to fetch metrics from custom metrics API: the custom metrics API server returned "
            f"{len(answer)} results when we asked for exactly one"
        )
    else:
        return quantity.to_milli(answer[0]["value"])
    raise MetricError(f"unable to get metric {name}: {about['kind']} on {namespace} {about['name']}/{text}")


def _proposal(scene: Scene, target: Object, value: int) -> Proposal | None:
    """By the type that the target names; None where it does not say how much."""
    if target.get("type") == "AverageValue" and target.get("averageValue") is not None:
        goal = quantity.to_milli(target["averageValue"])
        return autoscaling_replicas.of_part(scene.present, scene.crowd.tolerance, value, goal)
    if target.get("type") == "Value" and target.get("value") is not None:
        return autoscaling_replicas.of_value(scene.crowd, value, quantity.to_milli(target["value"]))
    return None


def _of_outside(metric: Object, scene: Scene, answer: Answer) -> Found:
    source = metric["external"]
    name, target = source["metric"]["name"], source["target"]
    selector = selector_text.shown(source["metric"].get("selector"))
    is_average = target.get("averageValue") is not None
    try:
        try:
            items = _items(answer, "external", "")
        except MetricError as error:
            text = f"unable to get external metric {scene.namespace}/{name}/{selector}: {error}"
            raise MetricError(text) from error
        value = sum(quantity.to_milli(item["value"]) for item in items)
        made = _proposal(scene, {**target, "type": "AverageValue" if is_average else "Value"}, value)
    except MetricError as error:
        head = f"failed to get {name} external metric" if is_average else f"failed to get external metric {name}"
        raise _failed(metric, str(error), f"{head}: {error}") from error
    if made is None:
        text = _NO_TARGET.format("external")
        raise _failed(metric, text, text)
    current = {"averageValue" if is_average else "value": _milli(made.used)}
    return Found(made.replicas, f"external metric {name}({selector})", _status(metric, current))
