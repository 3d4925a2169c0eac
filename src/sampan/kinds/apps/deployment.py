"""Deployment: pods that change from one template to the next without a gap.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import numbers, pod_template, pod_warnings, replica_counts, scale
from sampan.kinds.parts.cells import AGE
from sampan.meta import objects
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported


def _count(field: str) -> Any:
    return lambda obj, now: (obj.get("status") or {}).get(field) or 0


DEPLOYMENT = Kind(
    group="apps",
    versions=("v1",),
    name="Deployment",
    plural="deployments",
    schema="io.k8s.api.apps.v1.Deployment",
    short_names=("deploy",),
    categories=("all",),
    subresources=(STATUS, scale.at("spec.replicas", "status.replicas", "spec.selector")),
    status_keeps=("labels",),
    columns=(
        Column("Ready", replica_counts.ready_text, description="Number of the pod with ready state"),
        Column("Up-to-date", _count("updatedReplicas")),
        Column("Available", _count("availableReplicas")),
        AGE,
        pod_template.CONTAINERS,
        pod_template.IMAGES,
        pod_template.SELECTOR,
    ),
    immutable=("spec.selector",),
    has_generation=True,
)

_NEVER = 2**31 - 1


def default(obj: Object) -> None:
    """One replica, rolling by quarters, ten old ReplicaSets, ten minutes to progress."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.get("strategy")
    if strategy is None:
        strategy = spec["strategy"] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        if rolling is None:
            rolling = strategy["rollingUpdate"] = {}
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    if spec.get("template") is not None:
        pod_template.default(spec["template"])
    default_status(obj)


def default_status(obj: Object) -> None:
    """There is one, if an empty one."""
    obj.setdefault("status", {})


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has an empty status; annotations count in its generation, unless they come by way of its status."""
    if old is None:
        new["status"] = {}
    elif not subresource and objects.annotations(new) != objects.annotations(old):
        new["metadata"]["generation"] = objects.generation(old) + 1


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Counts, selector, template and strategy."""
    if subresource == "status":
        status = new.get("status") or {}
        causes = replica_counts.status_causes(new, old, ("updatedReplicas", "readyReplicas", "availableReplicas"))
        return causes + numbers.negative_causes(status, "status", "unavailableReplicas", "terminatingReplicas")
    spec = new.get("spec") or {}
    causes = numbers.negative_causes(spec, "spec", "replicas")
    causes += pod_template.selector_causes(spec, "deployment")
    if spec.get("template") is None:
        causes += pod_template.missing_causes("spec.template")
    elif old is None or spec["template"] != (old.get("spec") or {}).get("template"):
        causes += pod_template.causes(spec["template"], "spec.template")
        causes += pod_template.always_causes(spec, "ReplicaSet")
    causes += _strategy_causes(spec.get("strategy") or {})
    causes += numbers.negative_causes(
        spec, "spec", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"
    )
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and 0 <= deadline <= (spec.get("minReadySeconds") or 0):
        causes.append(invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The template's warnings."""
    return pod_warnings.template_warnings(new, old)


def _strategy_causes(strategy: dict[str, Any]) -> list[Cause]:
    kind = strategy.get("type")
    rolling = strategy.get("rollingUpdate")
    path = "spec.strategy.rollingUpdate"
    if kind == "Recreate":
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden_field(path, text)] if rolling is not None else []
    if kind != "RollingUpdate":
        return [not_supported("spec.strategy", strategy, ("Recreate", "RollingUpdate"))]
    rolling = rolling or {}
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    found = numbers.int_or_percent_causes(unavailable, f"{path}.maxUnavailable", at_most_all=True)
    found += numbers.int_or_percent_causes(surge, f"{path}.maxSurge")
    if numbers.is_zero(unavailable) and numbers.is_zero(surge):
        found.append(invalid_value(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return found
