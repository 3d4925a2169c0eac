"""ReplicaSet: keeps a number of identical pods running.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/replica-set-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import numbers, pod_template, pod_warnings, replica_counts, scale
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause

REPLICASET = Kind(
    group="apps",
    versions=("v1",),
    name="ReplicaSet",
    plural="replicasets",
    schema="io.k8s.api.apps.v1.ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    subresources=(STATUS, scale.at("spec.replicas", "status.replicas", "spec.selector")),
    columns=(
        Column("Desired", "spec.replicas", kind="integer"),
        Column("Current", "status.replicas", kind="integer"),
        Column("Ready", "status.readyReplicas", kind="integer"),
        AGE,
        pod_template.CONTAINERS,
        pod_template.IMAGES,
        pod_template.SELECTOR,
    ),
    selectable={"status.replicas": "status.replicas"},
    immutable=("spec.selector",),
    has_generation=True,
)


def default(obj: Object) -> None:
    """One replica; the template's own defaults."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    if spec.get("template") is not None:
        pod_template.default(spec["template"])
    default_status(obj)


def default_status(obj: Object) -> None:
    """No replicas yet."""
    obj.setdefault("status", {}).setdefault("replicas", 0)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no replicas yet."""
    if old is None:
        new["status"] = {"replicas": 0}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Selector, template and count; status counts are not negative."""
    if subresource == "status":
        counts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        found = replica_counts.status_causes(new, old, counts)
        return found + numbers.negative_causes(new.get("status") or {}, "status", "terminatingReplicas")
    spec = new.get("spec") or {}
    causes = numbers.negative_causes(spec, "spec", "replicas", "minReadySeconds")
    causes += pod_template.selector_causes(spec, "deployment")
    if spec.get("template") is None:
        return [*causes, *pod_template.missing_causes("spec.template")]
    if old is None or spec["template"] != (old.get("spec") or {}).get("template"):
        causes += pod_template.causes(spec["template"], "spec.template")
        causes += pod_template.always_causes(spec, "ReplicaSet")
    return causes


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The template's warnings."""
    return pod_warnings.template_warnings(new, old)
