"""StatefulSet: pods with a stable name and their own storage, started and stopped in order.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.feature_gates import MAX_UNAVAILABLE_STATEFUL_SET
from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import numbers, pod_template, pod_warnings, replica_counts, scale
from sampan.kinds.parts.cells import AGE
from sampan.meta import intstr, names, validation
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

STATEFULSET = Kind(
    group="apps",
    versions=("v1",),
    name="StatefulSet",
    plural="statefulsets",
    schema="io.k8s.api.apps.v1.StatefulSet",
    short_names=("sts",),
    categories=("all",),
    subresources=(STATUS, scale.at("spec.replicas", "status.replicas", "spec.selector")),
    columns=(
        Column("Ready", replica_counts.ready_text, description="Number of the pod with ready state"),
        AGE,
        pod_template.CONTAINERS,
        pod_template.IMAGES,
    ),
    has_generation=True,
    name_check=names.dns1123_label,
)

_CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_POLICIES = ("OrderedReady", "Parallel")
_RETENTIONS = ("Delete", "Retain")
_COUNTS = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")


def default(obj: Object) -> None:
    """One replica, in order, rolling from the last to the first; claims stay."""
    spec = obj.setdefault("spec", {})
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec["persistentVolumeClaimRetentionPolicy"] = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        retention[name] = retention.get(name) or "Retain"
    spec.setdefault("serviceName", "")
    for claim in spec.get("volumeClaimTemplates") or ():
        _default_claim(claim)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    if spec.get("template") is not None:
        pod_template.default(spec["template"])


def _default_claim(claim: dict[str, Any]) -> None:
    claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    claim.setdefault("status", {}).setdefault("phase", "Pending")


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no replicas yet. maxUnavailable is dropped, unless it is there already: its gate is closed."""
    _prepare_status(new, old)
    if subresource != "status" and _rolling(old or {}).get("maxUnavailable") is None:
        _rolling(new).pop("maxUnavailable", None)


def _default_by_budget(obj: Object) -> None:
    """The same where the gate is open."""
    default(obj)
    if obj["spec"]["updateStrategy"]["type"] == "RollingUpdate" and _has_rolling(obj):
        _rolling(obj).setdefault("maxUnavailable", 1)


def _prepare_by_budget(new: Object, old: Object | None, subresource: str) -> None:
    _prepare_status(new, old)


GATED = {MAX_UNAVAILABLE_STATEFUL_SET: {"default": _default_by_budget, "prepare": _prepare_by_budget}}
"""Hooks in place of the others where a feature gate is open."""


def _prepare_status(new: Object, old: Object | None) -> None:
    if old is None:
        new["status"] = {"replicas": 0, "availableReplicas": 0}


def _has_rolling(obj: Object) -> bool:
    return obj["spec"]["updateStrategy"].get("rollingUpdate") is not None


def _rolling(obj: Object) -> dict[str, Any]:
    return ((obj.get("spec") or {}).get("updateStrategy") or {}).get("rollingUpdate") or {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Selector, template, strategy and counts; most of the spec never changes."""
    if subresource == "status":
        return replica_counts.status_causes(new, old, _COUNTS, "status.readyReplicas")
    spec = new.get("spec") or {}
    causes = _choice_causes(spec)
    causes += numbers.negative_causes(spec, "spec", "replicas", "minReadySeconds")
    causes += numbers.negative_causes(spec.get("ordinals") or {}, "spec.ordinals", "start")
    causes += pod_template.selector_causes(spec, "statefulset")
    if spec.get("template") is None:
        causes.append(required("spec.template"))
    elif old is None or spec["template"] != (old.get("spec") or {}).get("template"):
        causes += _template_causes(spec["template"].get("metadata") or {}, "spec.template")
        causes += pod_template.always_causes(spec, "StatefulSet")
    if old is not None:
        causes += _update_causes(spec, old.get("spec") or {})
    return causes


def _template_causes(metadata: dict[str, Any], path: str) -> list[Cause]:
    """The pod spec is judged when pods are made of it: claims may lie behind mounts that have no volume there."""
    found = list(validation.labels(metadata.get("labels") or {}, f"{path}.labels"))
    return found + list(validation.annotations(metadata.get("annotations") or {}, f"{path}.annotations"))


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """The warnings of the template and of the claims, and histories without end."""
    found = pod_warnings.template_warnings(new, old)
    for index, claim in enumerate((new.get("spec") or {}).get("volumeClaimTemplates") or ()):
        path = f"spec.volumeClaimTemplates[{index}]{'.Spec' if old else ''}"  # as the reference server writes it
        found += pod_warnings.claim_warnings(claim.get("spec") or {}, path)
    if ((new.get("spec") or {}).get("revisionHistoryLimit") or 0) < 0:
        text = "a negative value retains all historical revisions; a value >= 0 is recommended"
        found.append(f"spec.revisionHistoryLimit: {text}")
    return found


def _choice_causes(spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    policy = spec.get("podManagementPolicy")
    if policy not in _POLICIES:
        found.append(invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy = spec.get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if strategy.get("type") == "OnDelete":
        if rolling is not None:
            text = "only allowed for updateStrategy 'RollingUpdate'"
            found.append(invalid_value(f"{path}.rollingUpdate", rolling, text))
    elif strategy.get("type") == "RollingUpdate":
        found += _rolling_causes(rolling or {}, f"{path}.rollingUpdate")
    else:
        found.append(invalid_value(path, strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        if retention.get(name) not in _RETENTIONS:
            where = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            found.append(not_supported(where, retention.get(name) or "", _RETENTIONS))
    return found


def _rolling_causes(rolling: dict[str, Any], path: str) -> list[Cause]:
    found = numbers.negative_causes(rolling, path, "partition")
    unavailable = rolling.get("maxUnavailable")
    if unavailable is None:
        return found
    causes = numbers.int_or_percent_causes(unavailable, f"{path}.maxUnavailable", at_most_all=True)
    if not _count(unavailable):
        causes.append(invalid_value(f"{path}.maxUnavailable", unavailable, "cannot be 0"))
    return found + causes


def _count(value: Any) -> int:
    """The number in a count or a percentage; 0 in other texts."""
    return value if isinstance(value, int) else intstr.whole(value.removesuffix("%")) or 0


def _update_causes(spec: dict[str, Any], before: dict[str, Any]) -> list[Cause]:
    before = {"serviceName": "", **before}  # which those that were stored long ago lack
    if {k: v for k, v in spec.items() if k not in _CHANGEABLE} == {
        k: v for k, v in before.items() if k not in _CHANGEABLE
    }:
        return []
    listed = ", ".join(f"'{name}'" for name in _CHANGEABLE[:-1])
    text = f"updates to statefulset spec for fields other than {listed} and 'minReadySeconds' are forbidden"
    return [forbidden_field("spec", text)]
