"""Pod: containers that share a network and a fate, on one node.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.core import pod_columns
from sampan.kinds.kind import STATUS, Kind, Object, Subresource
from sampan.kinds.parts import (
    apparmor,
    ephemeral_rules,
    ip_rules,
    label_keys,
    pod_defaults,
    pod_resize,
    pod_resources,
    pod_rules,
    pod_status,
    pod_update,
    pod_warnings,
)
from sampan.meta import conditions, objects
from sampan.meta.quantity import Quantity
from sampan.meta.status import Cause

POD = Kind(
    group="",
    versions=("v1",),
    name="Pod",
    plural="pods",
    schema="io.k8s.api.core.v1.Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        STATUS,
        Subresource("log", verbs=("get",)),
        Subresource("exec", verbs=("create", "get"), version="v1", kind="PodExecOptions"),
        Subresource("attach", verbs=("create", "get"), version="v1", kind="PodAttachOptions"),
        Subresource("portforward", verbs=("create", "get"), version="v1", kind="PodPortForwardOptions"),
        Subresource(
            "proxy", verbs=("create", "delete", "get", "patch", "update"), version="v1", kind="PodProxyOptions"
        ),
        Subresource("ephemeralcontainers"),
        Subresource("resize"),
        Subresource("binding", verbs=("create",), version="v1", kind="Binding"),
        Subresource("eviction", verbs=("create",), group="policy", version="v1", kind="Eviction"),
    ),
    status_keeps=("deletionTimestamp", "ownerReferences"),
    unowned={"ephemeralcontainers": ("metadata", "status"), "resize": ("metadata", "status")},
    columns=pod_columns.COLUMNS,
    selectable={
        "spec.nodeName": "spec.nodeName",
        "spec.restartPolicy": "spec.restartPolicy",
        "spec.schedulerName": "spec.schedulerName",
        "spec.serviceAccountName": "spec.serviceAccountName",
        "spec.hostNetwork": "spec.hostNetwork",
        "status.phase": "status.phase",
        "status.podIP": "status.podIP",
        "status.nominatedNodeName": "status.nominatedNodeName",
    },
    has_generation=True,
    answers_deleted=True,
)


def is_ready(pod: Object) -> bool:
    """Whether its Ready condition is True."""
    return conditions.is_true(pod, "Ready")


def is_terminal(pod: Object) -> bool:
    """Whether it ended: Succeeded or Failed."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Whether it counts as a replica: neither ended nor being deleted."""
    return not is_terminal(pod) and not objects.is_deleting(pod)


def is_scheduled(pod: Object) -> bool:
    """Whether it has a node."""
    return bool((pod.get("spec") or {}).get("nodeName"))


def from_template(owner: Object, kind: Kind, template: Mapping[str, Any]) -> Object:
    """A new pod as `owner` (of `kind`) wants it; named <owner>- with a suffix from the server."""
    meta = template.get("metadata") or {}
    prefix = f"{objects.name(owner)}-"
    made: dict[str, Any] = {"generateName": prefix, "namespace": objects.namespace(owner)}
    for field in ("labels", "annotations"):
        if meta.get(field):
            made[field] = dict(meta[field])
    if meta.get("finalizers"):
        made["finalizers"] = list(meta["finalizers"])
    reference = {"apiVersion": kind.api_version, "kind": kind.name, "name": objects.name(owner)}
    made["ownerReferences"] = [{**reference, "uid": objects.uid(owner), "controller": True, "blockOwnerDeletion": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": objects.copy(template.get("spec") or {})}


def requests(pod: Object) -> dict[str, Quantity]:
    """What the scheduler sets aside: containers and sidecars together, or the largest init step, plus overhead."""
    return pod_resources.requests(pod.get("spec") or {})


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by requests and limits of cpu and memory."""
    return pod_resources.qos_class(pod.get("spec") or {})


def default(obj: Object) -> None:
    """Fills in the spec as upstream does."""
    pod_defaults.default_spec(obj.setdefault("spec", {}), created=True)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new pod is Pending with its QoS class, which stays; a subresource writes its own part and no more."""
    if old is None:
        label_keys.merge(new)
        apparmor.settle(new)
        status: dict[str, Any] = {"phase": "Pending", "qosClass": qos_class(new)}
        if new["spec"].get("schedulingGates"):
            text = "Scheduling is blocked due to non-empty scheduling gates"
            status["conditions"] = [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": text}
            ]
        new["status"] = status
    elif subresource == "status":
        pod_status.keep(new.setdefault("status", {}), old.get("status") or {})
    elif subresource in _PARTS:
        _keep_all_but(subresource, new, old)


_PARTS = ("ephemeralcontainers", "resize")


def _keep_all_but(subresource: str, new: Object, old: Object) -> None:
    """Puts back, in place, what the subresource does not write; a changed spec is a new generation."""
    metadata = {**objects.copy(old["metadata"])}
    for field in ("resourceVersion", "managedFields"):
        if field in new["metadata"]:
            metadata[field] = new["metadata"][field]
    if subresource == "resize":
        pod_resize.keep(new, old)
    else:
        guests = (new.get("spec") or {}).get("ephemeralContainers")
        spec = {k: v for k, v in objects.copy(old["spec"]).items() if k != "ephemeralContainers"}
        new["spec"] = {**spec, "ephemeralContainers": guests} if guests else spec
    if new["spec"] != old["spec"]:
        metadata["generation"] = old["metadata"].get("generation", 0) + 1
    new["metadata"], new["status"] = metadata, objects.copy(old.get("status") or {})


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A whole spec on create; afterwards only what may change."""
    if old is None:
        return pod_rules.pod_causes(new)
    if subresource == "":
        return pod_update.causes(new, old)
    if subresource == "resize":
        return pod_resize.causes(new, old)
    if subresource == "ephemeralcontainers":
        return pod_rules.spec_causes(new["spec"], "spec", pod=new) + ephemeral_rules.update_causes(new, old)
    return ()


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """What is likely a mistake but no error."""
    return pod_warnings.warnings(new, "") if old is None else ()


def warn_status(new: Object, old: Object) -> Sequence[str]:
    """Addresses that are not written as others write them."""
    status = new.get("status") or {}
    return [
        text
        for name in ("podIPs", "hostIPs")
        for index, each in enumerate(status.get(name) or ())
        for text in ip_rules.address_warnings(f"status.{name}[{index}].ip", each.get("ip") or "")
    ]


def grace_seconds(obj: Object, requested: int | None) -> int:
    """The wish, else the spec's; at once when it never ran anywhere or has ended."""
    spec = obj.get("spec") or {}
    seconds = requested
    if seconds is None:
        seconds = spec.get("terminationGracePeriodSeconds")
    if seconds is None:
        seconds = pod_defaults.GRACE_SECONDS
    if seconds < 0:
        seconds = 1
    return 0 if not spec.get("nodeName") or is_terminal(obj) else int(seconds)
