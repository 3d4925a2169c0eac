"""A Deployment's ReplicaSets: the one of its present template grows, the others shrink, within its bounds.

RollingUpdate keeps between replicas - maxUnavailable available and replicas + maxSurge in all; Recreate
waits until the old pods are gone. A paused one only scales. Old ReplicaSets beyond
revisionHistoryLimit go once the rollout is complete.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.control import decorate, own, rollback, rollout, rollout_status
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Create, Delete, Event, Key, Patch, Plan, Update, Write, normal, plan, warning
from sampan.control.rollout import Sizes
from sampan.control.view import View
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, selectors


@dataclass(frozen=True, slots=True)
class Rollout:
    """One deployment with its ReplicaSets: `new` has the present template."""

    deployment: Object
    new: Object | None
    old: list[Object]
    now: float

    @property
    def all(self) -> list[Object]:
        return [*self.old, self.new] if self.new is not None else self.old


def reconcile(view: View, key: Key, now: float) -> Plan:
    """One step of the rollout."""
    deployment = view.get(DEPLOYMENT, key)
    if deployment is None:
        return Plan()
    deployment = own.typed(deployment, DEPLOYMENT)
    selector = selectors.from_label_selector(deployment["spec"].get("selector"))
    found = own.children(view, deployment, own.Claim(DEPLOYMENT, REPLICASET, selector))
    if found.ask:
        return Plan(ask=found.ask)
    if found.writes:
        return plan(found.writes)
    template = deployment["spec"]["template"]
    matching = [r for r in rollout.by_age(found.objects) if rollout.same_template(r["spec"]["template"], template)]
    new = matching[0] if matching else None
    step = Rollout(deployment, new, [r for r in found.objects if r is not new], now)
    if objects.is_deleting(deployment):
        return _status_only(step)
    if deployment["spec"].get("paused"):
        return _paused(step)
    if rollback.wanted(deployment) is not None and new is not None:
        return rollback.rolled_back(deployment, step.all)
    if _is_scaling(step):
        return _scaled(step, _rescaled(step))
    return _rolling(view, step) if rollout.is_rolling(deployment) else _recreating(view, step)


def _rolling(view: View, step: Rollout) -> Plan:
    if step.new is None:
        return _created(view, step)
    if (ready := _prepared(step)) is not None:
        return ready
    wanted = rollout.size(step.deployment)
    present = rollout.size(step.new)
    grown = wanted if present > wanted else rollout.grown(step.deployment, step.new, step.all)
    if grown != present:
        return _progressed(step, {objects.name(step.new): grown})
    return _progressed(step, rollout.shrunk(step.deployment, step.new, step.old))


def _recreating(view: View, step: Rollout) -> Plan:
    if rollout.total(step.old) > 0:
        return _progressed(step, {objects.name(r): 0 for r in step.old if rollout.size(r)})
    if any(not pod.is_terminal(p) for r in step.old for p in view.owned(r, POD)):
        return _progressed(step, {})
    if step.new is None:
        return _created(view, step)
    if (ready := _prepared(step)) is not None:
        return ready
    return _progressed(step, {objects.name(step.new): rollout.size(step.deployment)})


def _paused(step: Rollout) -> Plan:
    sizes = _rescaled(step) if _is_scaling(step) else {}
    paused = _scaled(step, sizes)
    return paused if sizes else Plan((*paused.stages, *plan(_surplus_history(step)).stages))


def _is_scaling(step: Rollout) -> bool:
    wanted = str(rollout.size(step.deployment))
    annotated = [objects.annotations(r).get(rollout.DESIRED) for r in step.all if rollout.size(r) > 0]
    return any(text is not None and text != wanted for text in annotated)


def _rescaled(step: Rollout) -> Sizes:
    """The sizes when only the number of replicas has changed."""
    wanted = rollout.size(step.deployment)
    active = [r for r in step.all if rollout.size(r) > 0]
    if len(active) <= 1:
        candidates = active or ([step.new] if step.new is not None else rollout.by_age(step.old)[-1:])
        return {objects.name(r): wanted for r in candidates}
    if step.new is not None and _is_saturated(step.new, wanted):
        return {objects.name(r): 0 for r in step.old if rollout.size(r)}
    return rollout.proportional(step.deployment, active) if rollout.is_rolling(step.deployment) else {}


def _is_saturated(new: Object, wanted: int) -> bool:
    is_annotated = objects.annotations(new).get(rollout.DESIRED) == str(wanted)
    return is_annotated and rollout.size(new) == wanted == rollout.observed(new)


def _scaled(step: Rollout, sizes: Sizes) -> Plan:
    """Changed sizes and counts; progress is not judged. A paused one says so."""
    after = _after(step, sizes)
    made = rollout_status.status(step.deployment, after.new, after.old, step.now)
    made["conditions"] = _pause_condition(step.deployment, made["conditions"], step.now)
    return plan(_resize(step, sizes), decorate.status(DEPLOYMENT, step.deployment, made))


def _pause_condition(deployment: Object, listed: list[Object], now: float) -> list[Object]:
    if not rollout_status.has_deadline(deployment):
        return listed
    current = conditions.find(listed, "Progressing")
    if current is not None and current.get("reason") == rollout_status.TIMED_OUT:
        return listed
    if deployment["spec"].get("paused"):
        text = ("Unknown", "DeploymentPaused", "Deployment is paused")
        return rollout_status.changed(listed, "Progressing", text, now)
    return listed


def _progressed(step: Rollout, sizes: Sizes) -> Plan:
    after = _after(step, sizes)
    deployment = _resumed(step.deployment, step.now)
    made = rollout_status.with_progress(deployment, after.new, after.old, step.now)
    gone = _surplus_history(step) if rollout_status.is_complete(step.deployment, made) else ()
    again = rollout_status.seconds_to_deadline(step.deployment, made, step.now)
    return plan(_resize(step, sizes), gone, decorate.status(DEPLOYMENT, step.deployment, made), again=again)


def _resumed(deployment: Object, now: float) -> Object:
    """A deployment that is not paused any more says so before its progress is judged."""
    current = conditions.get(deployment, "Progressing")
    if current is None or current.get("reason") != "DeploymentPaused":
        return deployment
    text = ("Unknown", "DeploymentResumed", "Deployment is resumed")
    status = deployment["status"]
    listed = rollout_status.changed(status["conditions"], "Progressing", text, now)
    return {**deployment, "status": {**status, "conditions": listed}}


def _status_only(step: Rollout) -> Plan:
    made = rollout_status.status(step.deployment, step.new, step.old, step.now)
    return plan(decorate.status(DEPLOYMENT, step.deployment, made))


def _prepared(step: Rollout) -> Plan | None:
    """What the new ReplicaSet and the deployment must say before anything is scaled, or None."""
    deployment, new = step.deployment, step.new
    if new is None:
        return None
    number = max(map(rollout.revision, step.old), default=0) + 1
    wanted = rollout.annotations_for(deployment, new, number)
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    if wanted != objects.annotations(new) or min_ready != new["spec"].get("minReadySeconds", 0):
        spec = {k: v for k, v in new["spec"].items() if k != "minReadySeconds"}
        spec |= {"minReadySeconds": min_ready} if min_ready else {}
        return plan([Update(REPLICASET, {**new, "metadata": {**new["metadata"], "annotations": wanted}, "spec": spec})])
    if objects.annotations(deployment).get(rollout.REVISION) != wanted[rollout.REVISION]:
        patch = {"metadata": {"annotations": {rollout.REVISION: wanted[rollout.REVISION]}}}
        return plan(
            [Patch(DEPLOYMENT, objects.key(deployment), patch, subresource="status", uid=objects.uid(deployment))]
        )
    if rollout_status.has_deadline(deployment) and conditions.get(deployment, "Progressing") is None:
        text = ("True", "FoundNewReplicaSet", f'Found new replica set "{objects.name(new)}"')
        return plan(decorate.status(DEPLOYMENT, deployment, _said(deployment, text, step.now)))
    return None


def _created(view: View, step: Rollout) -> Plan:
    """Makes the ReplicaSet of the present template. A foreign one of that name means another hash."""
    deployment = step.deployment
    old_status = deployment.get("status") or {}
    made = rollout.new_replica_set(deployment, old_status.get("collisionCount"))
    name = objects.name(made)
    if view.get(REPLICASET, (objects.namespace(deployment), name)) is not None:
        raised = {**old_status, "collisionCount": old_status.get("collisionCount", 0) + 1}
        return plan(decorate.status(DEPLOYMENT, deployment, raised))
    number = max(map(rollout.revision, step.old), default=0) + 1
    made["metadata"]["annotations"] = rollout.annotations_for(deployment, None, number)
    empty = {**made, "spec": {**made["spec"], "replicas": 0}}
    made["spec"]["replicas"] = rollout.grown(deployment, empty, step.old)
    told = _scaling(name, 0, made["spec"]["replicas"]) if made["spec"]["replicas"] else None
    failed = warning("ReplicaSetCreateError", f'Failed to create new replica set "{name}": {{error}}')
    text = ("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    refusals = [o for o in view.refusals() if isinstance(o.write, Create)]
    error = next((o.error for o in refusals if (o.refusal or {}).get("reason") != "AlreadyExists"), "")
    if error:
        text = ("False", "ReplicaSetCreateError", f'Failed to create new replica set "{name}": {error}')
    status = _said(deployment, text, step.now) if rollout_status.has_deadline(deployment) else old_status
    after = {**deployment, "status": status}
    status = rollout_status.status(after, {**made, "status": {}}, step.old, step.now)
    creation, said = [Create(REPLICASET, made, told, failed)], decorate.status(DEPLOYMENT, deployment, status)
    # A refusal is told before it is tried again, else the status stage would never be reached.
    return plan(said, creation) if error else plan(creation, said)


def _said(deployment: Object, text: tuple[str, str, str], now: float) -> Object:
    status = deployment.get("status") or {}
    listed = rollout_status.changed(status.get("conditions") or [], "Progressing", text, now)
    return {**status, "conditions": listed}


def _after(step: Rollout, sizes: Sizes) -> Rollout:
    """The ReplicaSets as they will be."""

    def resized(r: Object) -> Object:
        return {**r, "spec": {**r["spec"], "replicas": sizes.get(objects.name(r), rollout.size(r))}}

    new = resized(step.new) if step.new is not None else None
    return Rollout(step.deployment, new, [resized(r) for r in step.old], step.now)


def _resize(step: Rollout, sizes: Sizes) -> Sequence[Write]:
    """Writes sizes that differ, and for which wish they were chosen."""
    return [w for r in step.all for w in _resize_one(step.deployment, r, sizes.get(objects.name(r)))]


def _resize_one(deployment: Object, replica_set: Object, size: int | None) -> Iterable[Write]:
    if size is None:
        return
    annotations = decorate.annotated(replica_set, rollout.wanted_sizes(deployment))
    before = rollout.size(replica_set)
    if size == before and annotations == objects.annotations(replica_set):
        return
    changed = {**replica_set, "metadata": {**replica_set["metadata"], "annotations": annotations}}
    changed["spec"] = {**replica_set["spec"], "replicas": size}
    told = _scaling(objects.name(replica_set), before, size) if size != before else None
    yield Update(REPLICASET, changed, done=told)


def _scaling(name: str, before: int, after: int) -> Event:
    direction = "up" if after > before else "down"
    return normal("ScalingReplicaSet", f"Scaled {direction} replica set {name} from {before} to {after}")


def _surplus_history(step: Rollout) -> Sequence[Write]:
    """Old, empty ReplicaSets beyond the limit, oldest revision first."""
    limit = step.deployment["spec"].get("revisionHistoryLimit", 10)
    kept = [r for r in step.old if not objects.is_deleting(r)]
    surplus = max(len(kept) - limit, 0)
    ordered = sorted(rollout.by_age(kept), key=rollout.revision)[:surplus]
    return [Delete(REPLICASET, objects.key(r), objects.uid(r)) for r in ordered if _is_empty(r)]


def _is_empty(replica_set: Object) -> bool:
    is_seen = objects.generation(replica_set) <= rollout.observed(replica_set, "observedGeneration")
    return is_seen and rollout.size(replica_set) == 0 and rollout.observed(replica_set, "replicas") == 0


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    """A pod of a Recreate deployment -> that deployment, which waits for its end."""
    controller = objects.controller_of(p)
    if controller is None or controller.get("kind") != "ReplicaSet":
        return
    replica_set = view.get(REPLICASET, (objects.namespace(p), controller["name"]))
    parent = objects.controller_of(replica_set) if replica_set is not None else None
    if parent is not None and parent.get("kind") == "Deployment":
        key = (objects.namespace(p), parent["name"])
        deployment = view.get(DEPLOYMENT, key)
        if deployment is not None and not rollout.is_rolling(deployment):
            yield key


CONTROLLER = Controller(
    name="deployment-controller",
    parent=DEPLOYMENT,
    reconcile=reconcile,
    owns=(REPLICASET,),
    watches=(Watch(REPLICASET, own.orphan_keys(DEPLOYMENT), strays=True), Watch(POD, _pod_keys)),
)
