"""A rollout's ReplicaSets: which has the present template, what a new one is like, and what they count."""

from collections.abc import Iterable, Sequence

from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.kind import Object
from sampan.kinds.parts import pod_template
from sampan.meta import hashing, intstr, objects, timestamps
from sampan.platform.rollouts.kinds import DEADLINE, DESIRED, HASH, REVISION, ROLLOUT


def hash_of(rollout: Object) -> str:
    """The hash of the present template."""
    collisions = (rollout.get("status") or {}).get("collisionCount")
    return hashing.template_hash(rollout["spec"]["template"], collisions)


def hash_label(replica_set: Object | None) -> str:
    """The hash of a ReplicaSet's template; "" for none."""
    return str(objects.labels(replica_set).get(HASH, "")) if replica_set is not None else ""


def of_template(found: Iterable[Object], rollout: Object) -> Object | None:
    """The ReplicaSet that has the present template: by its hash, or by what it says once defaults are in it."""
    ordered = sorted(found, key=lambda r: (r["metadata"].get("creationTimestamp", ""), objects.name(r)))
    code, wanted = hash_of(rollout), _complete(rollout["spec"]["template"])
    same = [r for r in ordered if hash_label(r) == code]
    return next(iter(same or [r for r in ordered if _complete(r["spec"]["template"]) == wanted]), None)


def _complete(template: Object) -> Object:
    """With defaults, and without what tells whose it is."""
    made: Object = objects.copy(template)
    pod_template.default(made)
    metadata = made.get("metadata") or {}
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    kept = {name: value for name, value in metadata.items() if value and name != "creationTimestamp"}
    return {**made, "metadata": {**kept, "labels": labels}}


def new(rollout: Object, number: int) -> Object:
    """That of the present template, without a size."""
    spec, code = rollout["spec"], hash_of(rollout)
    template = objects.copy(spec["template"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: code}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = objects.copy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: code}
    made: Object = {"selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        made["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": REPLICASET.api_version,
        "kind": REPLICASET.name,
        "metadata": {
            "name": f"{objects.name(rollout)}-{code}",
            "namespace": objects.namespace(rollout),
            "labels": labels,
            "annotations": {REVISION: str(number), DESIRED: str(replicas(rollout))},
            "ownerReferences": [objects.owner_reference({**rollout, "kind": ROLLOUT.name})],
        },
        "spec": made,
    }


def replicas(rollout: Object) -> int:
    """How many pods are wanted in all."""
    given = rollout["spec"].get("replicas")
    return 1 if given is None else int(given)


def rescaled(rollout: Object, replica_set: Object) -> int | None:
    """The size with the same share of what is wanted now, rounded up; None where it stays.

    Where nothing was wanted before, the stable one has all of it.
    """
    wanted, before = replicas(rollout), intstr.whole(objects.annotations(replica_set).get(DESIRED, ""))
    if before is None or before == wanted:
        return None
    is_stable = hash_label(replica_set) == (rollout.get("status") or {}).get("stableRS")
    present = size(replica_set)
    alone = wanted if is_stable else present
    made = -(-present * wanted // before) if before > 0 else alone
    return made if made != present else None


def size(replica_set: Object | None) -> int:
    """What it should have."""
    return int(replica_set["spec"].get("replicas", 1)) if replica_set is not None else 0


def count(replica_set: Object | None, field: str = "availableReplicas") -> int:
    """What its status counts."""
    return int(((replica_set or {}).get("status") or {}).get(field) or 0)


def total(found: Iterable[Object], field: str = "availableReplicas") -> int:
    """The same of all."""
    return sum(count(replica_set, field) for replica_set in found)


def revision(obj: Object | None) -> int:
    """Its number; 0 without one."""
    return intstr.whole(objects.annotations(obj).get(REVISION, "")) or 0 if obj is not None else 0


def next_revision(others: Sequence[Object]) -> int:
    """One more than the highest."""
    return max(map(revision, others), default=0) + 1


def deadline(replica_set: Object) -> float | None:
    """When it is to have no pods any more, if that is settled."""
    text = objects.annotations(replica_set).get(DEADLINE, "")
    return timestamps.parse(text) if timestamps.is_valid(text) else None
