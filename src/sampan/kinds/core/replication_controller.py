"""ReplicationController: the older ReplicaSet, whose selector is a plain map of labels.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/replication-controller-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, numbers, pod_template, pod_warnings, replica_counts, scale
from sampan.meta.status import Cause, invalid_value, required

REPLICATIONCONTROLLER = Kind(
    group="",
    versions=("v1",),
    name="ReplicationController",
    plural="replicationcontrollers",
    schema="io.k8s.api.core.v1.ReplicationController",
    short_names=("rc",),
    categories=("all",),
    subresources=(STATUS, scale.at("spec.replicas", "status.replicas", "spec.selector")),
    columns=(
        Column("Desired", "spec.replicas", kind="integer"),
        Column("Current", lambda o, now: (o.get("status") or {}).get("replicas") or 0, kind="integer"),
        Column("Ready", lambda o, now: (o.get("status") or {}).get("readyReplicas") or 0, kind="integer"),
        cells.AGE,
        pod_template.CONTAINERS,
        pod_template.IMAGES,
        Column("Selector", lambda o, now: cells.format_labels((o.get("spec") or {}).get("selector")), wide=True),
    ),
    selectable={"status.replicas": "status.replicas"},
    has_generation=True,
    orphaning=True,
)


def default(obj: Object) -> None:
    """One replica; selector and labels are those of the template."""
    spec = obj.setdefault("spec", {})
    template = spec.get("template")
    labels = ((template or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)
    spec.setdefault("replicas", 1)
    if template is not None:
        pod_template.default(template)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no replicas yet."""
    if old is None:
        new["status"] = {"replicas": 0}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Selector, template and count; status counts are not negative."""
    if subresource == "status":
        return replica_counts.status_causes(new, old, ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"))
    spec = new.get("spec") or {}
    causes = numbers.negative_causes(spec, "spec", "minReadySeconds")
    selector = spec.get("selector") or {}
    if not selector:
        causes.append(required("spec.selector"))
    causes += numbers.negative_causes(spec, "spec", "replicas")
    template = spec.get("template")
    if template is None:
        return [*causes, required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selector.items() <= labels.items():
        text = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels, text))
    if old is None or template != (old.get("spec") or {}).get("template"):
        causes += pod_template.causes(template, "spec.template")
        causes += pod_template.always_causes(spec, "ReplicationController")
    return causes


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The template's warnings."""
    return pod_warnings.template_warnings(new, old)
