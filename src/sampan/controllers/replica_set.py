"""A ReplicaSet's pods: as many as spec.replicas, made from its template.

Too few: create the difference. Too many: delete the least useful first (unscheduled, pending, not ready,
cheap, crowded node, youngest). Status counts what is observed; a refusal shows as ReplicaFailure.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
"""

from collections.abc import Sequence

from sampan.control import decorate, own, pods
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Create, Delete, Key, Plan, Write, normal, plan, sooner, warning
from sampan.control.view import View
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, selectors

BURST = 500


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Claims, creates or deletes pods, then says what was observed."""
    replica_set = view.get(REPLICASET, key)
    if replica_set is None:
        return Plan()
    claim = own.Claim(REPLICASET, POD, selectors.from_label_selector(replica_set["spec"].get("selector")))
    found = own.children(view, replica_set, claim)
    if found.ask:
        return Plan(ask=found.ask)
    if found.writes:  # what is claimed counts once it is ours
        return plan(found.writes)
    active = [p for p in found.objects if pod.is_active(p)]
    surplus = len(active) - replica_set["spec"].get("replicas", 1)
    status = decorate.status(REPLICASET, replica_set, _status(view, replica_set, found.objects, now))
    again = _next_available(replica_set, active, now)
    if objects.is_deleting(replica_set):
        return plan(status, again=again)
    changes = _changes(view, replica_set, active, surplus)
    # A refusal is told before it is tried again, else the status stage would never be reached.
    stages = (status, changes) if view.refusals() else (changes, status)
    return plan(*stages, again=again)


def _changes(view: View, replica_set: Object, active: Sequence[Object], surplus: int) -> Sequence[Write]:
    if surplus < 0:
        return [_create(replica_set) for _ in range(min(-surplus, BURST))]
    if surplus == 0:
        return ()
    doomed = pods.least_useful(active, _crowd(view, replica_set), min(surplus, BURST))
    return [_delete(p) for p in doomed]


def _create(replica_set: Object) -> Create:
    made = pod.from_template(replica_set, REPLICASET, replica_set["spec"]["template"])
    told = normal("SuccessfulCreate", "Created pod: {name}")
    return Create(POD, made, told, warning("FailedCreate", "Error creating: {error}"))


def _delete(p: Object) -> Delete:
    told = normal("SuccessfulDelete", "Deleted pod: {name}")
    refused = warning("FailedDelete", "Error deleting: {error}")
    return Delete(POD, objects.key(p), objects.uid(p), done=told, refused=refused)


def _crowd(view: View, replica_set: Object) -> list[Object]:
    """The pods of this ReplicaSet and of those with the same controller."""
    controller = objects.controller_of(replica_set)
    related = [replica_set]
    if controller is not None:
        related = [
            r
            for r in view.dependents(REPLICASET, controller["uid"])
            if (objects.controller_of(r) or {}).get("uid") == controller["uid"]
        ]
    return [p for one in related for p in view.owned(one, POD)]


def _status(view: View, replica_set: Object, found: Sequence[Object], now: float) -> Object:
    spec, old = replica_set["spec"], replica_set.get("status") or {}
    wanted_labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    min_ready = spec.get("minReadySeconds", 0)
    active = [p for p in found if pod.is_active(p)]
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(wanted_labels.items() <= objects.labels(p).items() for p in active) or None,
        "readyReplicas": sum(map(pod.is_ready, active)) or None,
        "availableReplicas": sum(pods.is_available(p, min_ready, now) for p in active) or None,
        "terminatingReplicas": sum(objects.is_deleting(p) and not pod.is_terminal(p) for p in found),
        "observedGeneration": objects.generation(replica_set),
        "conditions": _conditions(view, old, now),
    }


def _conditions(view: View, old: Object, now: float) -> list[Object]:
    refusals = [o for o in view.refusals() if isinstance(o.write, Create | Delete)]
    kept = conditions.remove(old.get("conditions"), "ReplicaFailure")
    if not refusals:
        return kept
    previous = old.get("conditions") or ()
    if conditions.is_true(old, "ReplicaFailure"):
        return list(previous)  # each refusal names another pod; telling them all would make it due again at once
    reason = "FailedCreate" if isinstance(refusals[0].write, Create) else "FailedDelete"
    return conditions.set(previous, "ReplicaFailure", "True", reason, refusals[0].error, now)


def _next_available(replica_set: Object, active: Sequence[Object], now: float) -> float | None:
    """When the next ready pod becomes available by the passing of time alone."""
    min_ready = replica_set["spec"].get("minReadySeconds", 0)
    due = [pods.available_at(p, min_ready) for p in active] if min_ready else []
    return sooner(*(at - now for at in due if at is not None and at > now))


CONTROLLER = Controller(
    name="replicaset-controller",
    parent=REPLICASET,
    reconcile=reconcile,
    owns=(POD,),
    watches=(Watch(POD, own.orphan_keys(REPLICASET)),),
)
