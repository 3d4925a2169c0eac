"""A StatefulSet's pods: one for each ordinal, with its own name and storage, started, ended and replaced in order.

The present template is kept as a revision. Pods of other revisions are replaced, from the highest ordinal down to the
partition; once all are of the new one, the set comes from there. Claims outlive their pods unless it is told else.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

from sampan.control import own, pods, revisions, stateful_claims, stateful_pods, stateful_steps
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Create, Delete, Event, Key, Plan, Update, Write, plan, sooner, warning
from sampan.control.revisions import Settled, Style
from sampan.control.stateful_steps import Work
from sampan.control.view import View
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects

STYLE = Style(STATEFULSET)
COUNTS = ("replicas", "availableReplicas")


def reconcile(view: View, key: Key, now: float, *, by_budget: bool = False) -> Plan:
    """One step towards the wanted pods. `by_budget`: an update replaces as many at a time as may be unavailable."""
    stateful_set = view.get(STATEFULSET, key)
    if stateful_set is None:
        return Plan()
    history, found = _claimed(view, stateful_set)
    if history.ask or found.ask:
        return Plan(ask=(*history.ask, *found.ask))
    if history.writes or found.writes:
        return plan(history.writes, found.writes)
    collisions = (stateful_set.get("status") or {}).get("collisionCount")
    settled = revisions.settle(view, STYLE, stateful_set, history.objects, collisions)
    current = _current(stateful_set, history.objects, settled.revision)
    line = stateful_pods.line(stateful_set, list(found.objects))
    work = Work(view, stateful_set, line, current, settled.revision, now, by_budget)
    again = _next_available(work)
    if objects.is_deleting(stateful_set):
        return plan(_status(work, settled, 0), again=again)
    steps = stateful_steps.steps(work)
    status, gone = _status(work, settled, len(steps.replaced)), _surplus_history(work, history.objects)
    events = [*_failed_claims(work), *steps.events]
    # A refusal is told before it is tried again, else the status stage would never be reached.
    late = [status, *steps.stages] if view.refusals() else [*steps.stages, status]
    return plan(settled.writes, *late, gone, events=events, again=again)


def _claimed(view: View, stateful_set: Object) -> tuple[own.Children, own.Children]:
    """The set's revisions and pods. Pods with names that it does not give are neither adopted nor kept."""
    selector = own.label_selector(stateful_set)
    of_nobody = own.Claim(STATEFULSET, CONTROLLERREVISION, selector, counts=_is_free)
    history = own.children(view, stateful_set, of_nobody)

    def is_member(p: Object) -> bool:
        return stateful_pods.is_member(stateful_set, p) and not objects.is_deleting(p)

    found = own.children(view, stateful_set, own.Claim(STATEFULSET, POD, selector, counts=is_member))
    ours = tuple(p for p in found.objects if stateful_pods.is_member(stateful_set, p))
    if len(ours) == len(found.objects) or objects.is_deleting(stateful_set):
        return history, own.Children(ours, found.writes, found.ask)
    strange = [p for p in found.objects if not stateful_pods.is_member(stateful_set, p) and not objects.is_deleting(p)]
    releases = [own.release(POD, p, stateful_set) for p in strange]
    return history, own.Children(ours, (*found.writes, *releases), found.ask)


def _is_free(revision: Object) -> bool:
    return objects.controller_of(revision) is None and not objects.is_deleting(revision)


def _current(stateful_set: Object, history: Sequence[Object], update: Object) -> Object:
    """The revision that the set comes from, by its status; where it goes to, if there is none."""
    name = (stateful_set.get("status") or {}).get("currentRevision")
    return next((r for r in history if objects.name(r) == name), update)


def _status(work: Work, settled: Settled, replaced: int) -> Sequence[Write]:
    """Writes what is observed. Conditions are others' and do not outlive a change, as nobody here keeps any."""
    made = _counted(work, settled)
    made["currentReplicas"] = max(made["currentReplicas"] - replaced, 0)
    _complete(work.set, made)
    cleaned = {name: value for name, value in made.items() if value != 0 or name in (*COUNTS, "collisionCount")}
    before = {name: value for name, value in (work.set.get("status") or {}).items() if name != "conditions"}
    return () if cleaned == before else (Update(STATEFULSET, {**work.set, "status": cleaned}, "status"),)


def _counted(work: Work, settled: Settled) -> Object:
    line, now = work.line, work.now
    there = [p for p in line.pods if (p.get("status") or {}).get("phase")]
    staying = [stateful_pods.revision_of(p) for p in there if not objects.is_deleting(p)]
    ready = [p for p in line.pods if stateful_pods.is_ready(p)]
    return {
        "observedGeneration": objects.generation(work.set),
        "replicas": len(there),
        "readyReplicas": len(ready),
        "availableReplicas": sum(stateful_pods.is_available(work.set, p, now) for p in ready),
        "currentReplicas": staying.count(objects.name(work.current)),
        "updatedReplicas": staying.count(objects.name(work.update)),
        "currentRevision": objects.name(work.current),
        "updateRevision": objects.name(work.update),
        "collisionCount": settled.collisions,
    }


def _complete(stateful_set: Object, made: Object) -> None:
    """Once all pods are updated and ready, the set comes from where it went."""
    wanted = stateful_pods.size(stateful_set)
    is_rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("type") == "RollingUpdate"
    if is_rolling and made["updatedReplicas"] == made["readyReplicas"] == made["replicas"] == wanted:
        made["currentReplicas"], made["currentRevision"] = made["updatedReplicas"], made["updateRevision"]


def _surplus_history(work: Work, history: Sequence[Object]) -> Sequence[Delete]:
    live = {objects.name(work.current), objects.name(work.update), *map(stateful_pods.revision_of, work.line.pods)}
    limit = int(work.set["spec"].get("revisionHistoryLimit", 10))
    surplus = revisions.surplus(history, lambda r: objects.name(r) in live, limit)
    return [Delete(CONTROLLERREVISION, objects.key(r), objects.uid(r)) for r in surplus]


def _failed_claims(work: Work) -> list[Event]:
    """Tells of pods that could not be made as their claims were refused the last time."""
    errors = {
        objects.name(o.write.obj): f"failed to create PVC {o.name}: {o.error}"
        for o in work.view.refusals()
        if isinstance(o.write, Create) and o.write.kind is PERSISTENTVOLUMECLAIM
    }
    found = []
    for number, p in enumerate(work.line.replicas, stateful_pods.start(work.set)):
        names = stateful_claims.names(work.set, number) if errors and p is None else []
        texts = [errors[name] for name in names if name in errors]
        if texts:
            name = f"{objects.name(work.set)}-{number}"
            text = f"create Pod {name} in StatefulSet {objects.name(work.set)} failed error"
            found.append(warning("FailedCreate", f"{text}: {stateful_steps.joined(texts)}"))
    return found


def _next_available(work: Work) -> float | None:
    """When the next ready pod becomes available by the passing of time alone."""
    seconds = stateful_pods.min_ready(work.set)
    due = [pods.available_at(p, seconds) for p in work.line.pods] if seconds else []
    return sooner(*(at - work.now for at in due if at is not None and at > work.now))


def _going_claim_keys(view: View, claim: Object) -> Iterable[Key]:
    """A claim on its way out -> the sets that may wait for its end."""
    if not objects.is_deleting(claim):
        return
    for stateful_set in view.list(STATEFULSET, objects.namespace(claim)):
        for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
            if objects.name(claim).startswith(f"{objects.name(template)}-{objects.name(stateful_set)}-"):
                yield objects.key(stateful_set)


CONTROLLER = Controller(
    name="statefulset-controller",
    parent=STATEFULSET,
    reconcile=reconcile,
    owns=(POD, CONTROLLERREVISION),
    watches=(
        Watch(POD, own.orphan_keys(STATEFULSET), strays=True),
        Watch(CONTROLLERREVISION, own.orphan_keys(STATEFULSET), strays=True),
        Watch(PERSISTENTVOLUMECLAIM, _going_claim_keys),
    ),
)
BY_BUDGET = dataclasses.replace(CONTROLLER, reconcile=functools.partial(reconcile, by_budget=True))
"""The same where the feature gate MaxUnavailableStatefulSet is open."""
