"""Pods of nodes that are gone: nobody can end them any more, so they are marked failed and deleted at once.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Ask, Delete, Key, Patch, Plan, Write, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps

REASON = "DeletionByPodGC"
MESSAGE = "PodGC: node no longer exists"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """The node's absence is confirmed by a live read first."""
    if view.get(NODE, key) is not None:
        return Plan()
    pods = view.indexed(POD, "spec.nodeName", key[1])
    if not pods:
        return Plan()
    live = view.answer(Ask(NODE, key))
    if live is UNANSWERED:
        return Plan(ask=(Ask(NODE, key),))
    if live is not None:
        return Plan()
    marks = [_mark(p, now) for p in pods if not pod.is_terminal(p)]
    return plan(marks, [Delete(POD, objects.key(p), objects.uid(p), grace_seconds=0) for p in pods])


def _mark(p: Object, now: float) -> Write:
    stamp = timestamps.format(now)
    condition = {"type": "DisruptionTarget", "status": "True", "reason": REASON, "message": MESSAGE}
    status = {"phase": "Failed", "conditions": [{**condition, "lastTransitionTime": stamp}]}
    patch = {"metadata": {"uid": objects.uid(p)}, "status": status}
    return Patch(POD, objects.key(p), patch, "strategic", "status")


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    name = p["spec"].get("nodeName")
    if name and view.get(NODE, ("", name)) is None:
        yield "", name


CONTROLLER = Controller(
    name="pod-garbage-collector",
    parent=NODE,
    reconcile=reconcile,
    watches=(Watch(POD, _pod_keys),),
    indexes=(Index(POD, "spec.nodeName"),),
)
