"""Taint eviction: pods leave a node whose NoExecute taints they don't tolerate, or not for longer.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
"""

from collections.abc import Iterable, Sequence

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Delete, Key, Patch, Plan, Write, normal, plan, sooner
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps

NEVER = float("inf")


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Deletes those whose time is over; looks again when the next one's is."""
    node = view.get(NODE, key)
    taints = [t for t in (node or {}).get("spec", {}).get("taints") or () if t.get("effect") == "NoExecute"]
    if not taints:
        return Plan()
    marks: list[Write] = []
    deletions: list[Write] = []
    next_due: float | None = None
    for p in view.indexed(POD, "spec.nodeName", key[1]):
        if not pod.is_active(p):
            continue
        due = _due(p, taints, now)
        if due <= now:
            marks.append(_mark(p, now))
            deletions.append(_evict(p))
        elif due != NEVER:
            next_due = sooner(next_due, due - now)
    return plan(marks, deletions, again=next_due)


def _due(p: Object, taints: Sequence[Object], now: float) -> float:
    """When the pod must go: at once for a taint it doesn't tolerate, else after its shortest patience."""
    due = NEVER
    for taint in taints:
        tolerations = [t for t in p["spec"].get("tolerations") or () if _tolerates(t, taint)]
        if not tolerations:
            return now
        patience = [t["tolerationSeconds"] for t in tolerations if t.get("tolerationSeconds") is not None]
        if patience:
            since = timestamps.parse(taint["timeAdded"]) if taint.get("timeAdded") else now
            due = min(due, since + max(min(patience), 0))
    return due


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _mark(p: Object, now: float) -> Patch:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": timestamps.format(now),
    }
    patch = {"metadata": {"uid": objects.uid(p)}, "status": {"conditions": [condition]}}
    return Patch(POD, objects.key(p), patch, "strategic", "status")


def _evict(p: Object) -> Delete:
    where = f"{objects.namespace(p)}/{objects.name(p)}"
    told = normal("TaintManagerEviction", f"Marking for deletion Pod {where}", {"apiVersion": "v1", "kind": "Pod", **p})
    return Delete(POD, objects.key(p), objects.uid(p), done=told)


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    if p["spec"].get("nodeName"):
        yield "", p["spec"]["nodeName"]


CONTROLLER = Controller(
    name="taint-eviction-controller",
    parent=NODE,
    reconcile=reconcile,
    watches=(Watch(POD, _pod_keys),),
    indexes=(Index(POD, "spec.nodeName"),),
)
