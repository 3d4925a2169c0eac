"""A DaemonSet's pods: one on each node that its template may be on, of its present template as the update allows.

What a node lacks or has too much of comes first; then the rolling update's next step. Status counts nodes.

https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sampan.control import daemon_history, daemon_nodes, daemon_pods, daemon_rollout, decorate, own, pods, steps
from sampan.control.controller import Controller, Watch, owner_keys
from sampan.control.daemon_nodes import Changes, Fleet
from sampan.control.plan import Create, Delete, Key, Plan, Write, normal, plan, sooner, warning
from sampan.control.steps import Steps
from sampan.control.view import View
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects

BURST = 250


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Claims pods and revisions, settles the present revision, then changes pods and tells what was observed."""
    return steps.run(look(view, key, now))


def look(view: View, key: Key, now: float) -> Steps[Plan]:
    """The same in steps: a large cluster has many nodes."""
    daemon_set = view.get(DAEMONSET, key)
    if daemon_set is None:
        return Plan(memory={})
    if objects.is_deleting(daemon_set):  # its revisions may be gone before its pods: nothing can be said of them
        return Plan()
    selector = own.label_selector(daemon_set)
    found = own.children(view, daemon_set, own.Claim(DAEMONSET, POD, selector))
    if len(found.objects) >= steps.MANY:
        yield
    kept = own.children(view, daemon_set, own.Claim(DAEMONSET, CONTROLLERREVISION, selector))
    if found.ask or kept.ask:
        return Plan(ask=(found.ask or kept.ask))
    claims = [*found.writes, *kept.writes] or daemon_history.unlabelled(kept.objects)
    if claims:
        return plan(claims)
    relabelled, twins = daemon_history.twins(daemon_set, kept.objects, found.objects)
    if twins:
        return plan(relabelled, twins)
    return (yield from _step(view, daemon_set, found.objects, kept.objects, now))


def _step(view: View, daemon_set: Object, found: Sequence[Object], kept: Sequence[Object], now: float) -> Steps[Plan]:
    history = daemon_history.read(view, daemon_set, kept)
    old_status = daemon_set.get("status") or {}
    if history.collisions != old_status.get("collisionCount", 0):
        counted = {**old_status, "collisionCount": history.collisions}
        return plan(decorate.status(DAEMONSET, daemon_set, counted))
    fleet = yield from _fleet(view, daemon_set, found, history.code, now)
    changes = yield from _changes(fleet, view)
    status = decorate.status(DAEMONSET, daemon_set, (yield from _status(fleet)))
    gone = daemon_history.surplus(daemon_set, history.old, found)
    again = sooner(changes.again, _next_available(fleet))
    # A refusal is told before it is tried again, else the status stage would never be reached.
    stages = (status, _writes(fleet, changes)) if view.refusals() else (_writes(fleet, changes), status)
    made = plan(history.writes, *stages, gone, events=changes.events, again=again)
    rest = pods.rest(len(found)) if changes.are_none else 0.0
    return replace(made, memory=changes.failures, rest=rest)


def _fleet(view: View, daemon_set: Object, found: Sequence[Object], code: str, now: float) -> Steps[Fleet]:
    """Pods that have ended and are on their way out are nobody's business any more."""
    there = daemon_pods.by_node(p for p in found if not (pod.is_terminal(p) and objects.is_deleting(p)))
    nodes, fits = view.list(NODE), dict[str, daemon_pods.Fit]()
    for start in range(0, len(nodes), steps.MANY):
        if start:
            yield
        fits |= daemon_pods.fits(daemon_set, nodes[start : start + steps.MANY])
    return Fleet(daemon_set, fits, there, code, daemon_pods.generation(daemon_set), now)


def _pause(fleet: Fleet) -> Steps[None]:
    if len(fleet.fits) >= steps.MANY:
        yield


def _changes(fleet: Fleet, view: View) -> Steps[Changes]:
    yield from _pause(fleet)
    changes = daemon_nodes.changes(fleet, view.memory)
    is_rolling = fleet.daemon_set["spec"]["updateStrategy"]["type"] == "RollingUpdate"
    if not changes.are_none or not is_rolling:
        return changes
    yield from _pause(fleet)
    return replace(daemon_rollout.changes(fleet), again=changes.again, failures=changes.failures)


def _writes(fleet: Fleet, changes: Changes) -> list[Write]:
    template = daemon_pods.template(fleet.daemon_set, fleet.code)
    creates = [_create(fleet.daemon_set, template, node) for node in changes.nodes[:BURST]]
    return [*creates, *map(_delete, changes.doomed[:BURST])]


def _create(daemon_set: Object, template: Object, node: str) -> Create:
    told = normal("SuccessfulCreate", "Created pod: {name}")
    refused = warning("FailedCreate", "Error creating: {error}")
    return Create(POD, daemon_pods.made(daemon_set, template, node), told, refused)


def _delete(p: Object) -> Delete:
    told = normal("SuccessfulDelete", "Deleted pod: {name}")
    refused = warning("FailedDelete", "Error deleting: {error}")
    return Delete(POD, objects.key(p), objects.uid(p), done=told, refused=refused)


def _status(fleet: Fleet) -> Steps[Object]:
    """Of each node only the oldest pod counts; what others keep in the status stays."""
    yield from _pause(fleet)
    wanted = [node for node, fit in fleet.fits.items() if fit.wanted]
    first = [fleet.pods[node][0] for node in wanted if node in fleet.pods]
    ready = [p for p in first if pod.is_ready(p)]
    available = sum(map(fleet.is_available, ready))
    yield from _pause(fleet)
    return {
        **(fleet.daemon_set.get("status") or {}),
        "desiredNumberScheduled": len(wanted),
        "currentNumberScheduled": len(first),
        "numberMisscheduled": sum(not fit.wanted and node in fleet.pods for node, fit in fleet.fits.items()),
        "numberReady": len(ready),
        "updatedNumberScheduled": sum(map(fleet.is_updated, first)) or None,
        "numberAvailable": available or None,
        "numberUnavailable": len(wanted) - available or None,
        "observedGeneration": objects.generation(fleet.daemon_set),
    }


def _next_available(fleet: Fleet) -> float | None:
    """When the next ready pod becomes available by the passing of time alone."""
    min_ready = fleet.daemon_set["spec"].get("minReadySeconds", 0)
    due = [pods.available_at(p, min_ready) for there in fleet.pods.values() for p in there] if min_ready else []
    return sooner(*(at - fleet.now for at in due if at is not None and at > fleet.now))


def _node_keys(view: View, node: Object) -> Iterable[Key]:
    """Those whose pods may be on this node."""
    for daemon_set in view.list(DAEMONSET):
        if daemon_pods.fits(daemon_set, (node,))[objects.name(node)].kept:
            yield objects.key(daemon_set)


def _moves(old: Object | None, new: Object | None) -> bool:
    """Whether a change of a node may change which pods it has; its heartbeats don't."""
    if old is None or new is None:
        return True
    return objects.labels(old) != objects.labels(new) or old["spec"].get("taints") != new["spec"].get("taints")


def _revision_keys(view: View, revision: Object) -> Iterable[Key]:
    return (*owner_keys(DAEMONSET)(view, revision), *own.orphan_keys(DAEMONSET)(view, revision))


def _is_news(old: Object | None, new: Object | None) -> bool:
    """A revision that comes with its owner was made by it, or is for it to see when it looks again."""
    return old is not None or (new is not None and objects.controller_of(new) is None)


CONTROLLER = Controller(
    name="daemonset-controller",
    parent=DAEMONSET,
    reconcile=reconcile,
    steps=look,
    owns=(POD,),
    watches=(
        Watch(POD, own.orphan_keys(DAEMONSET), strays=True),
        Watch(NODE, _node_keys, _moves),
        Watch(CONTROLLERREVISION, _revision_keys, _is_news),
    ),
)
