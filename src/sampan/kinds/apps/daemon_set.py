"""DaemonSet: one pod on each node that matches.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/daemon-set-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, numbers, pod_template, pod_warnings
from sampan.meta import intstr, objects
from sampan.meta.status import Cause, invalid_value, not_supported, required


def _count(field: str) -> Any:
    return lambda obj, now: (obj.get("status") or {}).get(field) or 0


def node_selector_text(obj: Object, now: float) -> str:
    """The template's node selector as labels."""
    return cells.format_labels(objects.get_path(obj, "spec.template.spec.nodeSelector"))


DAEMONSET = Kind(
    group="apps",
    versions=("v1",),
    name="DaemonSet",
    plural="daemonsets",
    schema="io.k8s.api.apps.v1.DaemonSet",
    short_names=("ds",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        Column("Desired", _count("desiredNumberScheduled"), kind="integer"),
        Column("Current", _count("currentNumberScheduled"), kind="integer"),
        Column("Ready", _count("numberReady"), kind="integer"),
        Column("Up-to-date", _count("updatedNumberScheduled"), kind="integer"),
        Column("Available", _count("numberAvailable"), kind="integer"),
        Column("Node Selector", node_selector_text),
        cells.AGE,
        pod_template.CONTAINERS,
        pod_template.IMAGES,
        pod_template.SELECTOR,
    ),
    immutable=("spec.selector",),
    has_generation=True,
)

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_COUNTS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


def default(obj: Object) -> None:
    """Rolling, one node at a time; ten old revisions."""
    spec = obj.setdefault("spec", {})
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    if spec.get("template") is not None:
        pod_template.default(spec["template"])


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has an empty status; changes of the template are counted in an annotation as well."""
    if old is None:
        zeros = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        new["status"] = dict.fromkeys(zeros, 0)
        count = max(_template_generation(new), 1)
    elif subresource:
        return
    else:
        count = _template_generation(old)
        if (new.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template"):
            count += 1
    if old is None or TEMPLATE_GENERATION in objects.annotations(old):
        metadata = new["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


def _template_generation(obj: Object) -> int:
    return intstr.whole(objects.annotations(obj).get(TEMPLATE_GENERATION, "0")) or 0


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Selector, template and strategy; status counts are not negative."""
    if subresource == "status":
        return numbers.negative_causes(new.get("status") or {}, "status", *_COUNTS)
    spec = new.get("spec") or {}
    causes = pod_template.selector_causes(spec, "daemonset")
    if spec.get("template") is None:
        causes += pod_template.missing_causes("spec.template")
    elif old is None or spec["template"] != (old.get("spec") or {}).get("template"):
        causes += pod_template.causes(spec["template"], "spec.template")
        causes += pod_template.always_causes(spec, "DaemonSet")
    causes += numbers.negative_causes(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    return causes + _strategy_causes(spec.get("updateStrategy") or {})


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The template's warnings."""
    return pod_warnings.template_warnings(new, old)


def _strategy_causes(strategy: dict[str, Any]) -> list[Cause]:
    path = "spec.updateStrategy"
    if strategy.get("type") == "OnDelete":
        return []
    if strategy.get("type") != "RollingUpdate":
        return [not_supported(path, strategy, ("OnDelete", "RollingUpdate"))]
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        return [required(f"{path}.rollingUpdate")]
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    found = numbers.int_or_percent_causes(unavailable, f"{path}.rollingUpdate.maxUnavailable", at_most_all=True)
    found += numbers.int_or_percent_causes(surge, f"{path}.rollingUpdate.maxSurge", at_most_all=True)
    has_unavailable, has_surge = not numbers.is_zero(unavailable), not numbers.is_zero(surge)
    if has_unavailable and has_surge:
        text = "may not be set when maxUnavailable is non-zero"
        found.append(invalid_value(f"{path}.rollingUpdate.maxSurge", surge, text))
    elif not has_unavailable and not has_surge:
        found.append(required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found
