"""StatefulSet: pods with a stable name and their own storage, started and stopped in order.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import numbers, pod_rules, pod_template, replica_counts, scale
from sampan.kinds.parts.cells import AGE
from sampan.meta import names, validation
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
    """A new one has no replicas yet. maxUnavailable is behind a gate that is closed in 1.36, so it is dropped."""
    if old is None:
        new["status"] = {"replicas": 0, "availableReplicas": 0}
    if subresource != "status" and _max_unavailable(old or {}) is None:
        rolling = ((new.get("spec") or {}).get("updateStrategy") or {}).get("rollingUpdate") or {}
        rolling.pop("maxUnavailable", None)


def _max_unavailable(obj: Object) -> Any:
    return (((obj.get("spec") or {}).get("updateStrategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable")


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
    """The template's warnings, and histories without end."""
    found = pod_rules.template_warnings(new, old)
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
        found += numbers.negative_causes(rolling or {}, f"{path}.rollingUpdate", "partition")
    else:
        found.append(invalid_value(path, strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        if retention.get(name) not in _RETENTIONS:
            where = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            found.append(not_supported(where, retention.get(name) or "", _RETENTIONS))
    return found


def _update_causes(spec: dict[str, Any], before: dict[str, Any]) -> list[Cause]:
    if {k: v for k, v in spec.items() if k not in _CHANGEABLE} == {
        k: v for k, v in before.items() if k not in _CHANGEABLE
    }:
        return []
    listed = ", ".join(f"'{name}'" for name in _CHANGEABLE[:-1])
    text = f"updates to statefulset spec for fields other than {listed} and 'minReadySeconds' are forbidden"
    return [forbidden_field("spec", text)]
