"""A Rollout: an update in steps, by a canary or blue-green, that goes back by itself when an analysis says so.

https://argo-rollouts.readthedocs.io/en/stable/
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sampan.control import decorate, own
from sampan.control.controller import Controller, Watch
from sampan.control.own import Claim
from sampan.control.plan import (
    NOTHING,
    Create,
    Delete,
    Event,
    Key,
    Patch,
    Plan,
    Update,
    Write,
    normal,
    plan,
    sooner,
    warning,
)
from sampan.control.view import View
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, selectors, timestamps
from sampan.platform.rollouts import (
    analysis,
    blue_green,
    canary,
    progress,
    replica_sets,
    restarting,
    routing,
    validation,
)
from sampan.platform.rollouts.course import Course
from sampan.platform.rollouts.kinds import (
    ANALYSISRUN,
    ANALYSISTEMPLATE,
    CLUSTERANALYSISTEMPLATE,
    DEADLINE,
    DESIRED,
    REVISION,
    ROLLOUT,
)

HISTORY = 10


def reconcile(view: View, key: Key, now: float) -> Plan:
    """One step of whatever is under way."""
    rollout = view.get(ROLLOUT, key)
    if rollout is None or objects.is_deleting(rollout):
        return NOTHING
    rollout = own.typed(rollout, ROLLOUT)
    if message := validation.wrong(view, rollout):
        return _invalid(rollout, message, now)
    selector = selectors.from_label_selector(rollout["spec"]["selector"])
    found = own.children(view, rollout, Claim(ROLLOUT, REPLICASET, selector))
    if found.ask:
        return Plan(ask=found.ask)
    if found.writes:
        return plan(found.writes)
    new = replica_sets.of_template(found.objects, rollout)
    if new is None:
        if rollout["spec"].get("paused"):
            return _held(rollout, found.objects, now)
        return _created(view, rollout, list(found.objects))
    others = [each for each in found.objects if each is not new]
    if (first := _numbered(rollout, new, others)) is not None:
        return first
    return _course(Course(view, rollout, now, new, None, others, objects.copy(rollout.get("status") or {})))


def _invalid(rollout: Object, message: str, now: float) -> Plan:
    """Says so, and leaves everything as it is."""
    before = rollout.get("status") or {}
    listed = conditions.remove(before.get("conditions"), progress.INVALID)
    old = conditions.find(before.get("conditions") or (), progress.INVALID) or {}
    kept = [old] if old.get("message") == message else []
    said = ("True", progress.INVALID, message)
    made = {**before, "conditions": progress.changed([*listed, *kept], progress.INVALID, said, now)}
    made["observedGeneration"] = str(objects.generation(rollout))
    made["phase"], made["message"] = progress.phase_of(rollout, made)
    events = () if kept else (warning(progress.INVALID, message),)
    return plan(decorate.status(ROLLOUT, rollout, made), events=events)


def _held(rollout: Object, found: Sequence[Object], now: float) -> Plan:
    """There is to be no ReplicaSet of the present template yet; those that there are still grow and shrink."""
    writes: list[Write] = []
    for replica_set in found:
        size = replica_sets.rescaled(rollout, replica_set)
        annotations = {**objects.annotations(replica_set), DESIRED: str(replica_sets.replicas(rollout))}
        if size is None or replica_sets.deadline(replica_set) is not None:
            continue
        metadata = {**replica_set["metadata"], "annotations": annotations}
        spec = {**replica_set["spec"], "replicas": size}
        made = {**own.typed(replica_set, REPLICASET), "metadata": metadata, "spec": spec}
        writes.append(Update(REPLICASET, made, done=_scaled(replica_set, size)))
    return plan(writes, decorate.status(ROLLOUT, rollout, progress.held(rollout, found, now)))


def _scaled(replica_set: Object, wanted: int) -> Event:
    name, size = objects.name(replica_set), replica_sets.size(replica_set)
    way, number = "up" if wanted > size else "down", replica_sets.revision(replica_set)
    return normal("ScalingReplicaSet", f"Scaled {way} ReplicaSet {name} (revision {number}) from {size} to {wanted}")


def _created(view: View, rollout: Object, others: list[Object]) -> Plan:
    """The ReplicaSet of the present template, without pods yet. A foreign one of that name means another hash."""
    number = replica_sets.next_revision(others)
    made = replica_sets.new(rollout, number)
    made["spec"]["replicas"] = 0
    name, before = objects.name(made), rollout.get("status") or {}
    if view.get(REPLICASET, objects.key(made)) is not None:
        raised = {**before, "collisionCount": before.get("collisionCount", 0) + 1}
        return plan(decorate.status(ROLLOUT, rollout, raised))
    told = normal("NewReplicaSetCreated", f"Created ReplicaSet {name} (revision {number})")
    failed = warning("ReplicaSetCreateError", f'Failed to create new replica set "{name}": {{error}}')
    updated = normal("RolloutUpdated", f"Rollout updated to revision {number}")
    return plan([Create(REPLICASET, made, told, failed)], events=[updated])


def _numbered(rollout: Object, new: Object, others: list[Object]) -> Plan | None:
    """The new ReplicaSet has the highest revision, and the rollout says which that is; None when it is so."""
    number = max(replica_sets.next_revision(others), replica_sets.revision(new))
    writes: list[Write] = []
    if replica_sets.revision(new) != number:
        patch = {"metadata": {"annotations": {REVISION: str(number)}}}
        writes.append(Patch(REPLICASET, objects.key(new), patch, uid=objects.uid(new)))
    if replica_sets.revision(rollout) != number:
        patch = {"metadata": {"annotations": {REVISION: str(number)}}}
        writes.append(Patch(ROLLOUT, objects.key(rollout), patch, uid=objects.uid(rollout)))
    return plan(writes) if writes else None


def _course(found: Course) -> Plan:
    stable = found.stable_hash
    listed = [found.new, *found.others]
    found.stable = next((r for r in listed if stable and replica_sets.hash_label(r) == stable), None)
    found.others = [r for r in found.others if r is not found.stable]
    if found.stable is None and stable:
        found.status.pop("stableRS")  # it was deleted: what is wanted now is all there is
    found.retry()
    if progress.is_late(found) and not found.is_promoted:
        found.abort(f'ReplicaSet "{objects.name(found.new)}" has timed out progressing.')
    if "canary" in found.spec["strategy"]:
        found.status.pop("blueGreen", None)
        canary.run(found)
    else:
        for name in ("canary", "currentStepIndex", "currentStepHash"):
            found.status.pop(name, None)
        blue_green.run(found)
    if found.is_aborted:
        found.status.setdefault("abortedAt", timestamps.format(found.now))
    routed = routing.route(found)
    if found.ask:
        return Plan(ask=tuple(dict.fromkeys(found.ask)))
    restarting.run(found)
    progress.tell(found)
    analysis.clear(found)
    return _planned(found, routed)


def _planned(found: Course, routed: list[Write]) -> Plan:
    """First what grows and what Services select, then the shares of the traffic, then what shrinks."""
    grown: list[Write] = []
    shrunk: list[Write] = []
    for replica_set in found.everything:
        write = _resized(found, replica_set)
        if write is not None:
            size = replica_sets.size(replica_set)
            is_smaller = found.sizes.get(objects.name(replica_set), size) < size
            (shrunk if is_smaller else grown).append(write)
    if not found.status.get("canary"):
        found.status.pop("canary", None)
    first = [*found.early, *grown, *routing.services(found)]
    state = decorate.status(ROLLOUT, found.rollout, found.status)
    late = [*shrunk, *found.late, *_surplus(found)]
    return plan(first, routed, late, state, events=found.events, again=sooner(*found.again))


def _resized(found: Course, replica_set: Object) -> Write | None:
    """With its new size, the size that it was made for, and its end."""
    name, size = objects.name(replica_set), replica_sets.size(replica_set)
    wanted = found.sizes.get(name, size)
    annotations = objects.annotations(replica_set)
    made: dict[str, Any] = {**annotations, DESIRED: str(found.replicas)} if wanted or size else dict(annotations)
    if name in found.deadlines:
        due = found.deadlines[name]
        made = {key: value for key, value in made.items() if key != DEADLINE}
        made |= {DEADLINE: timestamps.format(due)} if due is not None else {}
    spec, metadata = replica_set["spec"], replica_set["metadata"]
    least = found.spec.get("minReadySeconds") or 0
    is_same_pace = replica_set is not found.new or (spec.get("minReadySeconds") or 0) == least
    if wanted == size and made == annotations and is_same_pace:
        return None
    pace = {} if is_same_pace else {"minReadySeconds": least}
    new = {**own.typed(replica_set, REPLICASET), "metadata": {**metadata, "annotations": made}}
    new["spec"] = {**spec, "replicas": wanted, **pace}
    if wanted == size:
        return Update(REPLICASET, new)
    return Update(REPLICASET, new, done=_scaled(replica_set, wanted))


def _surplus(found: Course) -> Iterable[Write]:
    """The oldest ReplicaSets that nobody needs."""
    if not found.is_promoted:
        return
    limit = found.spec.get("revisionHistoryLimit")
    old = [r for r in found.others if not replica_sets.size(r) and not replica_sets.count(r, "replicas")]
    old = [r for r in old if (r.get("status") or {}).get("observedGeneration", 0) >= objects.generation(r)]
    old.sort(key=replica_sets.revision)
    for replica_set in old[: max(len(old) - (HISTORY if limit is None else limit), 0)]:
        yield Delete(REPLICASET, objects.key(replica_set), objects.uid(replica_set))


# What makes a rollout due


def _of_service(view: View, service: Object) -> Iterable[Key]:
    """A Service -> the rollouts that select by it."""
    name = objects.name(service)
    for rollout in view.list(ROLLOUT, objects.namespace(service)):
        strategy = rollout["spec"].get("strategy") or {}
        given = strategy.get("canary") or strategy.get("blueGreen") or {}
        if name in (given.get(f) for f in ("canaryService", "stableService", "activeService", "previewService")):
            yield objects.key(rollout)


def _of_template(view: View, template: Object) -> Iterable[Key]:
    """A template -> the rollouts that wait for one."""
    for rollout in view.list(ROLLOUT, objects.namespace(template)):
        if conditions.get(rollout, progress.INVALID) is not None:
            yield objects.key(rollout)


CONTROLLER = Controller(
    name="rollouts-controller",
    parent=ROLLOUT,
    reconcile=reconcile,
    owns=(REPLICASET, ANALYSISRUN),
    watches=(
        Watch(REPLICASET, own.orphan_keys(ROLLOUT), strays=True),
        Watch(SERVICE, _of_service),
        Watch(ANALYSISTEMPLATE, _of_template),
        Watch(CLUSTERANALYSISTEMPLATE, _of_template),
    ),
    reads=(POD,),
)
