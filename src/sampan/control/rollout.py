"""Rollout: the arithmetic of moving from old ReplicaSets to a new one.

All sizes are spec.replicas unless said otherwise; `Sizes` maps a ReplicaSet's name to its new size.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import hashing, intstr, objects

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HISTORY_CHARACTERS = 2000
HASH = "pod-template-hash"
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
}

Sizes = dict[str, int]


def size(replica_set: Object) -> int:
    """What it should have."""
    return int(replica_set["spec"].get("replicas", 1))


def observed(replica_set: Object | None, field: str = "availableReplicas") -> int:
    """What its status counts."""
    return int(((replica_set or {}).get("status") or {}).get(field, 0))


def total(replica_sets: Sequence[Object]) -> int:
    """Sum of what they should have."""
    return sum(map(size, replica_sets))


def is_rolling(deployment: Object) -> bool:
    """Whether the strategy is RollingUpdate."""
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def bounds(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as counts. Both zero would never move, so then one may be unavailable."""
    if not is_rolling(deployment):
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = size(deployment)
    surge = intstr.scaled(rolling.get("maxSurge", "25%"), replicas, True)
    unavailable = intstr.scaled(rolling.get("maxUnavailable", "25%"), replicas, False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def same_template(first: Object, second: Object) -> bool:
    """Whether two pod templates are equal but for the hash label."""
    return _bare(first) == _bare(second)


def by_age(replica_sets: Sequence[Object]) -> list[Object]:
    """Oldest first."""
    return sorted(replica_sets, key=lambda r: (r["metadata"].get("creationTimestamp", ""), objects.name(r)))


def revision(obj: Object) -> int:
    """The revision in the annotation, 0 when there is none."""
    return intstr.whole(objects.annotations(obj).get(REVISION, "")) or 0


def annotations_for(deployment: Object, replica_set: Object | None, number: int) -> dict[str, str]:
    """The annotations of the new ReplicaSet: the deployment's own, the revision, and the wanted sizes."""
    old = objects.annotations(replica_set) if replica_set else {}
    copied = {k: v for k, v in objects.annotations(deployment).items() if k not in NOT_COPIED}
    wanted = {**old, **copied, **wanted_sizes(deployment)}
    before = revision(replica_set) if replica_set else 0
    wanted[REVISION] = str(max(number, before))
    if before and before < number:
        wanted[HISTORY] = _history(old.get(HISTORY, ""), str(before))
    return wanted


def _history(before: str, number: str) -> str:
    """Earlier revisions with one more; the oldest go where it becomes too long."""
    listed = [*filter(None, before.split(",")), number]
    while len(listed) > 1 and sum(len(text) + 1 for text in listed) > HISTORY_CHARACTERS + 1:
        del listed[0]
    return ",".join(listed)


def wanted_sizes(deployment: Object) -> dict[str, str]:
    """The annotations that remember for which size a ReplicaSet was scaled."""
    return {DESIRED: str(size(deployment)), MAXIMUM: str(size(deployment) + bounds(deployment)[0])}


def new_replica_set(deployment: Object, collisions: int | None) -> Object:
    """The ReplicaSet of the deployment's present template, without annotations and size."""
    spec = deployment["spec"]
    code = hashing.template_hash(spec["template"], collisions)
    template = objects.copy(spec["template"])
    labels = {**(template.get("metadata") or {}).get("labels", {}), HASH: code}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = objects.copy(spec["selector"])
    selector["matchLabels"] = {**selector.get("matchLabels", {}), HASH: code}
    made: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{objects.name(deployment)}-{code}",
            "namespace": objects.namespace(deployment),
            "labels": labels,
            "ownerReferences": [objects.owner_reference(deployment)],
        },
        "spec": {"selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made


def grown(deployment: Object, new: Object, everything: Sequence[Object]) -> int:
    """The size the new ReplicaSet may have now."""
    wanted, present = size(deployment), size(new)
    if not is_rolling(deployment):
        return wanted
    room = wanted + bounds(deployment)[0] - total(everything)
    return present if room <= 0 else present + max(min(room, wanted - present), 0)


def shrunk(deployment: Object, new: Object, old: Sequence[Object]) -> Sizes:
    """The sizes of old ReplicaSets: unhealthy replicas go first, then as many as availability allows."""
    if total(old) == 0:
        return {}
    least = size(deployment) - bounds(deployment)[1]
    room = total([*old, new]) - least - (size(new) - observed(new))
    if room <= 0:
        return {}
    sizes = _without_unhealthy(by_age(old), room)
    # One that was told to shrink may not have done so yet: what it has too much of is going.
    spare = sum(min(observed(r), size(r)) for r in [*old, new]) - least
    for replica_set in by_age(old):
        present = sizes.get(objects.name(replica_set), size(replica_set))
        taken = min(present, spare)
        if taken > 0:
            sizes[objects.name(replica_set)] = present - taken
            spare -= taken
    return sizes


def _without_unhealthy(old: Sequence[Object], room: int) -> Sizes:
    sizes: Sizes = {}
    for replica_set in old:
        taken = min(room, size(replica_set) - observed(replica_set))
        if taken > 0:
            sizes[objects.name(replica_set)] = size(replica_set) - taken
            room -= taken
    return sizes


def proportional(deployment: Object, replica_sets: Sequence[Object]) -> Sizes:
    """A changed size is shared among the active ReplicaSets in proportion; the rest goes to the largest."""
    wanted = size(deployment)
    allowed = wanted + bounds(deployment)[0] if wanted > 0 else 0
    to_add = allowed - total(replica_sets)
    ordered = by_age(replica_sets)
    if to_add > 0:  # growing favours newer ones, shrinking takes from older ones
        ordered.reverse()
    ordered.sort(key=size, reverse=True)
    sizes: Sizes = {}
    added = 0
    for replica_set in ordered:
        share = _share(deployment, replica_set, allowed) if to_add else 0
        left = to_add - added
        share = max(min(share, left), 0) if to_add > 0 else min(max(share, left), 0)
        sizes[objects.name(replica_set)] = size(replica_set) + share
        added += share
    if ordered and to_add != added:
        largest = objects.name(ordered[0])
        sizes[largest] = max(sizes[largest] + to_add - added, 0)
    return sizes


def _share(deployment: Object, replica_set: Object, allowed: int) -> int:
    """What it would gain if its part of the whole stayed the same."""
    if size(deployment) == 0:
        return -size(replica_set)
    before = intstr.whole(objects.annotations(replica_set).get(MAXIMUM, "")) or observed(deployment, "replicas")
    return int(size(replica_set) * allowed / before + 0.5) - size(replica_set) if before else 0


def without_hash(template: Object) -> Object:
    """The pod template without the label that tells whose it is."""
    metadata = template.get("metadata") or {}
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _bare(template: Object) -> Object:
    bare = without_hash(template)
    kept = {k: v for k, v in bare["metadata"].items() if v and k != "creationTimestamp"}
    return {**bare, "metadata": kept}
