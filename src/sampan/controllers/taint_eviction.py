"""Taint eviction: pods leave a node whose NoExecute taints they don't tolerate, or not for longer.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Delete, Event, Key, Patch, Plan, Write, normal, plan
from sampan.control.pods import disruption_target
from sampan.control.view import View
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import node_match
from sampan.meta import conditions, objects, timestamps


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Deletes those whose time is over; looks again when the next one's is. Memory: pod's uid -> since when it waits."""
    taints = _taints(view.get(NODE, key))
    waited = view.memory
    if not taints and not waited:
        return Plan()
    marks: list[Write] = []
    deletions: list[Write] = []
    events: list[Event] = []
    waiting: dict[str, float] = {}
    dues: list[float] = []
    for p in view.indexed(POD, "spec.nodeName", key[1]):
        if objects.is_deleting(p):
            continue
        patience, uid = _patience(p, taints), objects.uid(p)
        since = waited.get(uid, _since(p, taints, now))
        if patience is None:
            events += [_told(p, "Cancelling deletion of")] if uid in waited else []
        elif since + patience <= now:
            marks.append(_mark(p, now))
            deletions.append(_evict(p))
        else:
            waiting[uid] = since
            dues.append(since + patience - now)
    return replace(plan(marks, deletions, events=events, again=min(dues, default=None)), memory=waiting)


def _taints(node: Object | None) -> list[Object]:
    """Those that drive pods away."""
    return [t for t in (node or {}).get("spec", {}).get("taints") or () if t.get("effect") == "NoExecute"]


def _patience(p: Object, taints: Sequence[Object]) -> float | None:
    """For how long the pod stays: the shortest of what tolerates each taint first. None: for ever."""
    found: list[float] = []
    for taint in taints:
        toleration = next((t for t in p["spec"].get("tolerations") or () if node_match.covers(t, taint)), None)
        if toleration is None:
            return 0.0
        if toleration.get("tolerationSeconds") is not None:
            found.append(max(toleration["tolerationSeconds"], 0))
    return min(found, default=None)


def _since(p: Object, taints: Sequence[Object], now: float) -> float:
    """Since when its patience is tried: the first taint came, or the pod did, whichever was later."""
    added = [timestamps.parse(t["timeAdded"]) if t.get("timeAdded") else now for t in taints]
    bound = (conditions.get(p, "PodScheduled") or {}).get("lastTransitionTime") or p["metadata"]["creationTimestamp"]
    return max(min(added, default=now), timestamps.parse(bound))


def _mark(p: Object, now: float) -> Patch:
    message = "Taint manager: deleting due to NoExecute taint"
    condition = disruption_target(p, "DeletionByTaintManager", message, now)
    patch = {"metadata": {"uid": objects.uid(p)}, "status": {"conditions": [condition]}}
    return Patch(POD, objects.key(p), patch, "strategic", "status")


def _evict(p: Object) -> Delete:
    return Delete(POD, objects.key(p), objects.uid(p), done=_told(p, "Marking for deletion"))


def _told(p: Object, what: str) -> Event:
    text = f"{what} Pod {objects.namespace(p)}/{objects.name(p)}"
    return normal("TaintManagerEviction", text, {"apiVersion": "v1", "kind": "Pod", **p})


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    """Its node, if that has such taints: when they come, the node changes."""
    key = ("", p["spec"].get("nodeName", ""))
    if key[1] and _taints(view.get(NODE, key)):
        yield key


def _is_tainted_otherwise(old: Object | None, new: Object | None) -> bool:
    return _taints(old) != _taints(new)


def _matters(old: Object | None, new: Object | None) -> bool:
    """A pod comes or goes, or tolerates other taints."""
    if old is None or new is None:
        return True
    before, now = old["spec"], new["spec"]
    if before is now:
        return False
    return any(before.get(field) != now.get(field) for field in ("nodeName", "tolerations"))


CONTROLLER = Controller(
    name="taint-eviction-controller",
    parent=NODE,
    reconcile=reconcile,
    matters=_is_tainted_otherwise,
    watches=(Watch(POD, _pod_keys, _matters),),
    indexes=(Index(POD, "spec.nodeName"),),
)
