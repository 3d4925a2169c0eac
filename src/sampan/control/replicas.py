"""Replicas: as many equal pods as spec.replicas, made from one template, for ReplicaSets and their older form alike.

Too few: create the difference. Too many: delete the least useful first (unscheduled, pending, not ready,
cheap, crowded node, youngest). Status counts what is observed; a refusal shows as ReplicaFailure.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sampan.control import decorate, own, pods
from sampan.control.plan import Create, Delete, Key, Outcome, Plan, Write, normal, plan, sooner, warning
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind, Object
from sampan.meta import conditions, objects
from sampan.meta.selectors import Selector

BURST = 500


@dataclass(frozen=True, slots=True)
class Replicated:
    """A kind that stands for equal pods: how it selects them, and whether its status counts those on their way out."""

    kind: Kind
    selector: Callable[[Object], Selector]
    tells_terminating: bool = True


def reconcile(view: View, key: Key, now: float, what: Replicated) -> Plan:
    """Claims, creates or deletes pods, then says what was observed."""
    parent = view.get(what.kind, key)
    if parent is None:
        return Plan()
    found = own.children(view, parent, own.Claim(what.kind, POD, what.selector(parent), counts=pod.is_active))
    if found.ask:
        return Plan(ask=found.ask)
    if found.writes:  # what is claimed counts once it is ours
        return plan(found.writes)
    active = [p for p in found.objects if pod.is_active(p)]
    changes = () if objects.is_deleting(parent) else _changes(view, what.kind, parent, active, now)
    # What was refused before says nothing about a parent that is content by now.
    refusals = [o for o in view.refusals() if isinstance(o.write, Create | Delete)] if changes else []
    made = _status(what, parent, found.objects, now)
    made["conditions"] = _conditions(parent, refusals, now)
    status = decorate.status(what.kind, parent, made)
    # A refusal is told before it is tried again, else the status stage would never be reached.
    stages = (status, changes) if refusals else (changes, status)
    planned = plan(*stages, again=_next_available(parent, active, now))
    return planned if changes else replace(planned, rest=pods.rest(len(active)))


def _changes(view: View, kind: Kind, parent: Object, active: Sequence[Object], now: float) -> Sequence[Write]:
    surplus = len(active) - parent["spec"].get("replicas", 1)
    if surplus < 0:
        return [_create(kind, parent)] * min(-surplus, BURST)  # all alike: the server names them
    if surplus == 0:
        return ()
    doomed = pods.least_useful(active, _crowd(view, kind, parent), min(surplus, BURST), now)
    return [_delete(p) for p in doomed]


def _create(kind: Kind, parent: Object) -> Create:
    made = pod.from_template(parent, kind, parent["spec"]["template"])
    told = normal("SuccessfulCreate", "Created pod: {name}")
    return Create(POD, made, told, warning("FailedCreate", "Error creating: {error}"))


def _delete(p: Object) -> Delete:
    told = normal("SuccessfulDelete", "Deleted pod: {name}")
    refused = warning("FailedDelete", "Error deleting: {error}")
    return Delete(POD, objects.key(p), objects.uid(p), done=told, refused=refused)


def _crowd(view: View, kind: Kind, parent: Object) -> list[Object]:
    """The pods of this parent and of those with the same controller."""
    controller = objects.controller_of(parent)
    related = [parent]
    if controller is not None:
        related = [
            r
            for r in view.dependents(kind, controller["uid"])
            if (objects.controller_of(r) or {}).get("uid") == controller["uid"]
        ]
    return [p for one in related for p in view.owned(one, POD)]


def _status(what: Replicated, parent: Object, found: Sequence[Object], now: float) -> Object:
    """The counts."""
    spec = parent["spec"]
    wanted_labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    min_ready = spec.get("minReadySeconds", 0)
    active = [p for p in found if pod.is_active(p)]
    counts = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(wanted_labels.items() <= objects.labels(p).items() for p in active) or None,
        "readyReplicas": sum(map(pod.is_ready, active)) or None,
        "availableReplicas": sum(pods.is_available(p, min_ready, now) for p in active) or None,
        "observedGeneration": objects.generation(parent),
    }
    if what.tells_terminating:
        counts["terminatingReplicas"] = sum(objects.is_deleting(p) and not pod.is_terminal(p) for p in found)
    return counts


def _conditions(parent: Object, refusals: Sequence[Outcome], now: float) -> list[Object]:
    old = parent.get("status") or {}
    if not refusals:
        return conditions.remove(old.get("conditions"), "ReplicaFailure")
    previous = old.get("conditions") or ()
    if conditions.is_true(old, "ReplicaFailure"):
        return list(previous)  # each refusal names another pod; telling them all would make it due again at once
    reason = "FailedCreate" if isinstance(refusals[0].write, Create) else "FailedDelete"
    return conditions.set(previous, "ReplicaFailure", "True", reason, refusals[0].error, now)


def _next_available(parent: Object, active: Sequence[Object], now: float) -> float | None:
    """When the next ready pod becomes available by the passing of time alone."""
    min_ready = parent["spec"].get("minReadySeconds", 0)
    due = [pods.available_at(p, min_ready) for p in active] if min_ready else []
    return sooner(*(at - now for at in due if at is not None and at > now))
