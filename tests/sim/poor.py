"""Poor objects: values that a schema takes and nobody means, such as list items without the fields that Go would fill."""

import random
from typing import Any

from sampan.kinds import builtin
from sampan.kinds.kind import Kind, Object
from sampan.meta import schema

TEXTS = (
    "", "a", "a/b", "..", "-1", "²", "9" * 30, "Ready", "True", "False", "Unknown", "Running", "Failed", "Succeeded",
    "Pending", "Bound", "Released", "Complete", "default", "web", "sampan", "10.0.0.1", "::1", "{}", "[", "null", "main",
)  # fmt: skip
KEYS = ("a", "cpu", "memory", "pods", "storage", "requests.cpu", "example.com/a")
SCALARS: dict[str, tuple[Any, ...]] = {
    "string": TEXTS,
    "integer": (0, 1, -1, 5, 70000, 2**31 - 1, -(2**31), 2**63 - 1),
    "number": (1.5, 0, -1e300),
    "boolean": (True, False, None),
    "int-or-string": (0, -1, "x", "50%", ""),
    "quantity": ("1", "1Gi", "0", "-1", "9E", "100m", "1n"),
    "time": ("2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", None),
    "any": ({}, {"a": {"b": [1]}}, None, [], "x", 1),
}
NOTES = (
    "deployment.kubernetes.io/revision", "deployment.kubernetes.io/desired-replicas", "deprecated.deployment.rollback.to",
    "controller.kubernetes.io/pod-deletion-cost", "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-index-failure-count", "batch.kubernetes.io/cronjob-scheduled-timestamp",
    "kubernetes.io/config.mirror", "kubernetes.io/config.source", "pv.kubernetes.io/bind-completed",
    "volume.kubernetes.io/selected-node", "volume.kubernetes.io/storage-provisioner", "node.alpha.kubernetes.io/ttl",
    "endpoints.kubernetes.io/last-change-trigger-time", "control-plane.alpha.kubernetes.io/leader",
    "autoscaling.alpha.kubernetes.io/metrics", "autoscaling.alpha.kubernetes.io/behavior",
    "kubectl.kubernetes.io/last-applied-configuration", "simulated.sampan.dev/run-seconds",
)  # fmt: skip
NOTED = ("", "x", "-1", "9" * 30, "²", "true", "{}", "[1]", "null", "1e999", "NaN", "0001-01-01T00:00:00Z", "1_0")
MARKS = (
    "controller-revision-hash", "pod-template-hash", "apps.kubernetes.io/pod-index", "statefulset.kubernetes.io/pod-name",
    "batch.kubernetes.io/job-completion-index", "batch.kubernetes.io/job-name", "kubernetes.io/service-name",
    "kubernetes.io/hostname", "topology.kubernetes.io/zone", "app", "pod-template-generation",
    "endpointslice.kubernetes.io/managed-by",
)  # fmt: skip
MARKED = ("", "x", "-1", "9" * 30, "true", "web", "0", "sampan", "1_0")
FINALIZERS = (None, ["example.com/a"], ["foregroundDeletion"], ["orphan"], ["kubernetes.io/pv-protection"])
OWNED = 0.3


def status(kind: Kind, dice: random.Random) -> Any:
    """Any status of the kind that may be sent."""
    return value(kind.type.fields["status"], dice)


def metadata(dice: random.Random, owners: list[Object]) -> Object:
    """Annotations and labels that controllers read, and owners that are none."""
    made: Object = {
        "annotations": {dice.choice(NOTES): dice.choice(NOTED) for _ in range(3)},
        "labels": {dice.choice(MARKS): dice.choice(MARKED)},
    }
    if dice.random() < OWNED:
        owner = dice.choice(owners)
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
        made["ownerReferences"] = [{**reference, "uid": dice.choice(("x", owner["metadata"]["uid"]))}]
    return made


def value(kind: schema.Type, dice: random.Random, depth: int = 0) -> Any:
    """A value of the type in which much may be missing."""
    if dice.random() < 0.06:
        return None
    if kind.kind == "object":
        share = dice.choice((0.0, 0.15, 0.4, 0.8)) if depth < 9 else 0.0
        return {name: value(field, dice, depth + 1) for name, field in kind.fields.items() if dice.random() < share}
    if kind.kind == "array":
        return [value(kind.items, dice, depth + 1) for _ in range(dice.choice((0, 1, 1, 2)))]
    if kind.kind == "map":
        return {key: value(kind.items, dice, depth + 1) for key in dice.sample(KEYS, dice.choice((0, 1, 2)))}
    if kind.kind == "string" and kind.format == "byte":
        return "YQ=="
    return dice.choice(SCALARS[kind.kind])


def kinds() -> list[Kind]:
    """Those that are stored, each once."""
    return [kind for kind in builtin.KINDS if not kind.not_stored and not kind.is_satellite]
