"""Workloads: Deployments, ReplicaSets, StatefulSets and DaemonSets, by their pods."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.core.pod import POD, is_terminal
from sampan.meta import conditions, objects
from sampan.platform.health import pods, refusals, words
from sampan.platform.health.lookup import Lookup, owned
from sampan.platform.health.verdict import HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about, because

Object = Mapping[str, Any]
REVISION = "deployment.kubernetes.io/revision"


def deployment(obj: Object, look: Lookup) -> Verdict:
    """Follows its ReplicaSets to their pods."""
    status, wanted = obj.get("status") or {}, _replicas(obj)
    if _is_unseen(obj):
        return about(obj, PROGRESSING, "NotYetObserved", "has changed, and its controller has not looked at it yet")
    sets = owned(look, REPLICASET, obj)
    ready, updated = int(status.get("availableReplicas", 0)), int(status.get("updatedReplicas", 0))
    paused = bool((obj.get("spec") or {}).get("paused"))
    if ready >= wanted and (updated >= wanted or paused) and int(status.get("replicas", 0)) <= max(wanted, updated):
        looping = because(about(obj), _pods_of(sets, look))
        if looping.is_healthy:
            note = ", and is paused: kubectl rollout resume" if paused else ""
            return about(obj, HEALTHY, "Available", f"has {ready} of {words.plural(wanted, 'pod')} available{note}")
    message = _count(ready, wanted, updated, int(status.get("replicas", 0)))
    newest = [each for each in sets if _revision(each) == _revision(obj)] or sets
    causes = [*_refusals(newest, look), *_pods_of(newest, look)]
    if not any(not cause.is_healthy for cause in causes):
        causes = [*_refusals(sets, look), *_pods_of(sets, look)]
    return because(_unavailable(obj, message, paused=paused), causes)


def replica_set(obj: Object, look: Lookup) -> Verdict:
    """A ReplicaSet, or a ReplicationController."""
    if _is_unseen(obj):
        return about(obj, PROGRESSING, "NotYetObserved", "has changed, and its controller has not looked at it yet")
    wanted, ready = _replicas(obj), int((obj.get("status") or {}).get("readyReplicas", 0))
    causes = [*_refusals([obj], look), *_pods_of([obj], look)]
    if ready >= wanted and all(cause.is_healthy for cause in causes):
        return about(obj, HEALTHY, "Available", f"has {ready} of {words.plural(wanted, 'pod')} ready")
    return because(about(obj, PROGRESSING, "NotReady", f"has {ready} of {words.plural(wanted, 'pod')} ready"), causes)


def stateful_set(obj: Object, look: Lookup) -> Verdict:
    """In order: the first pod that is not ready keeps the others waiting."""
    if _is_unseen(obj):
        return about(obj, PROGRESSING, "NotYetObserved", "has changed, and its controller has not looked at it yet")
    status, wanted = obj.get("status") or {}, _replicas(obj)
    ready, updated = int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0))
    causes = [*_pods_of([obj], look), *(_refusals([obj], look) if int(status.get("replicas", 0)) < wanted else ())]
    bad = [cause for cause in causes if not cause.is_healthy]
    is_rolling = (
        status.get("updateRevision") != status.get("currentRevision") and updated < wanted and not _is_partial(obj)
    )
    if ready >= wanted and not bad and not is_rolling:
        return about(obj, HEALTHY, "Ready", f"has {ready} of {words.plural(wanted, 'pod')} ready")
    message = f"has {ready} of {words.plural(wanted, 'pod')} ready"
    if bad and (obj.get("spec") or {}).get("podManagementPolicy") != "Parallel" and ready < wanted:
        message += "; they are made one after the other, and this one keeps the next waiting"
    if is_rolling and (obj["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        message += "; those of the old template go when somebody deletes them"
    return because(about(obj, PROGRESSING, "NotReady", message), bad)


def daemon_set(obj: Object, look: Lookup) -> Verdict:
    """One pod on each node that fits."""
    if _is_unseen(obj):
        return about(obj, PROGRESSING, "NotYetObserved", "has changed, and its controller has not looked at it yet")
    status = obj.get("status") or {}
    wanted, ready = int(status.get("desiredNumberScheduled", 0)), int(status.get("numberAvailable", 0))
    updated = int(status.get("updatedNumberScheduled", 0))
    there = int(status.get("currentNumberScheduled", 0))
    causes = [*_pods_of([obj], look), *(_refusals([obj], look) if there < wanted else ())]
    if not wanted:
        return about(obj, HEALTHY, "NoNodes", "wants no pod: no node fits its selector and tolerations")
    if ready >= wanted and all(cause.is_healthy for cause in causes):
        if updated < wanted and (obj["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
            return about(
                obj, PROGRESSING, "RollingOut", f"has {updated} of {words.plural(wanted, 'pod')} of the new template"
            )
        return about(obj, HEALTHY, "Available", f"has {ready} of {words.plural(wanted, 'pod')} available")
    return because(
        about(obj, PROGRESSING, "NotReady", f"has {ready} of {words.plural(wanted, 'pod')} available"), causes
    )


def _unavailable(obj: Object, message: str, *, paused: bool) -> Verdict:
    condition = conditions.get(obj, "Progressing") or {}
    if paused:
        steps: tuple[str, ...] = (
            f"{words.in_namespace(objects.namespace(obj))} rollout resume deployment/{objects.name(obj)}",
        )
        return about(obj, STUCK, "Paused", f"{message}, and is paused", next=steps)
    if condition.get("reason") == "ProgressDeadlineExceeded":
        shown = (Evidence("condition", f"Progressing=False: {condition.get('message', '')}"),)
        back = f"{words.in_namespace(objects.namespace(obj))} rollout undo deployment/{objects.name(obj)}"
        steps = (f"or back to the template before: {back}",) if int(_revision(obj) or 0) > 1 else ()
        return about(
            obj, STUCK, "ProgressDeadlineExceeded", f"{message}, and has given up on more", evidence=shown, next=steps
        )
    return about(obj, PROGRESSING, "RollingOut", message)


def _count(ready: int, wanted: int, updated: int, all: int) -> str:
    said = f"has {ready} of {words.plural(wanted, 'pod')} available"
    old = all - updated
    return f"{said}; {words.plural(old, 'pod')} of the old template still there" if old > 0 else said


def _pods_of(owners: Iterable[Object], look: Lookup) -> list[Verdict]:
    """Verdicts on the pods of some owners, by name; those that ended are left out."""
    found = [p for owner in owners for p in owned(look, POD, owner) if not is_terminal(p)]
    return [pods.judge({"apiVersion": "v1", "kind": "Pod", **pod}, look) for pod in found]


def _refusals(owners: Sequence[Object], look: Lookup) -> list[Verdict]:
    found = []
    for owner in owners:
        if int((owner.get("status") or {}).get("replicas", 0)) >= _replicas(owner) and owner.get("kind") != "DaemonSet":
            continue
        refused = refusals.judge(owner, look)
        if refused is not None:
            found.append(refused)
    return found


def _is_unseen(obj: Object) -> bool:
    return int((obj.get("status") or {}).get("observedGeneration", 0)) < objects.generation(obj)


def _is_partial(obj: Object) -> bool:
    return bool(((obj["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition"))


def _replicas(obj: Object) -> int:
    found = (obj.get("spec") or {}).get("replicas")
    return 1 if found is None else int(found)


def _revision(obj: Object) -> str:
    return objects.annotations(obj).get(REVISION, "")
