"""Pods that nobody ends any more: they are marked failed and deleted at once.

Those of nodes that are gone, those on their way out on a node that is out of service or without a node, and the
oldest of very many that have ended.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Ask, Delete, Key, Patch, Plan, Write, plan
from sampan.control.pods import disruption_target
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects

REASON = "DeletionByPodGC"
MESSAGE = "PodGC: node no longer exists"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
QUARANTINE_SECONDS = 40.0
ENDED_PODS = 12500
ENDS = ("Succeeded", "Failed")
ENDED: Key = ("", "/ended")


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Keys are nodes, there or not, and pods without one; ENDED stands for pods that have ended."""
    if key[0]:
        found = view.get(POD, key)
        is_lost = found is not None and objects.is_deleting(found) and not found["spec"].get("nodeName")
        return _given_up([found], now) if found is not None and is_lost else Plan()
    if key == ENDED:
        return _given_up(_surplus(view), now)
    node = view.get(NODE, key)
    if node is None:
        return _bereft(view, key, now)
    return replace(_out_of_service(view, node, now), memory={})


def _bereft(view: View, key: Key, now: float) -> Plan:
    """A node that has been missing for a while, which a live read confirms. Memory: since when."""
    pods = view.indexed(POD, "spec.nodeName", key[1])
    if not pods:
        return Plan(memory={})
    since = view.memory.get("since", now)
    if now < since + QUARANTINE_SECONDS:
        return Plan(again=since + QUARANTINE_SECONDS - now, memory={"since": since})
    live = view.answer(Ask(NODE, key))
    if live is UNANSWERED:
        return Plan(ask=(Ask(NODE, key),))
    return _given_up(pods, now, MESSAGE) if live is None else Plan()


def _out_of_service(view: View, node: Object, now: float) -> Plan:
    """Whoever sets that taint says that the node will not end its pods itself."""
    taints = node["spec"].get("taints") or ()
    if conditions.is_true(node, "Ready") or not any(t["key"] == OUT_OF_SERVICE for t in taints):
        return Plan()
    pods = view.indexed(POD, "spec.nodeName", objects.name(node))
    return _given_up([p for p in pods if objects.is_deleting(p)], now)


def _beyond(view: View) -> int:
    """How many pods have ended beyond those that are kept."""
    return sum(view.count(POD, "status.phase", phase) for phase in ENDS) - ENDED_PODS


def _surplus(view: View) -> list[Object]:
    """Those beyond what is kept: evicted ones first, then the oldest."""
    surplus = _beyond(view)
    if surplus <= 0:
        return []
    found = [p for phase in ENDS for p in view.indexed(POD, "status.phase", phase)]
    return sorted(found, key=_worth)[:surplus]


def _worth(p: Object) -> tuple[bool, str, str]:
    is_evicted = p["status"]["phase"] == "Failed" and p["status"].get("reason") == "Evicted"
    return not is_evicted, p["metadata"].get("creationTimestamp", ""), objects.name(p)


def _given_up(pods: Sequence[Object], now: float, why: str = "") -> Plan:
    marks = [_mark(p, now, why) for p in pods if not pod.is_terminal(p)]
    return plan(marks, [Delete(POD, objects.key(p), objects.uid(p), grace_seconds=0) for p in pods if not _is_going(p)])


def _is_going(p: Object) -> bool:
    """Whether it only waits for its finalizers."""
    return objects.is_deleting(p) and p["metadata"].get("deletionGracePeriodSeconds") == 0


def _mark(p: Object, now: float, why: str) -> Write:
    status: Object = {"phase": "Failed"}
    if why:
        status["conditions"] = [disruption_target(p, REASON, why, now)]
    patch = {"metadata": {"uid": objects.uid(p)}, "status": status}
    return Patch(POD, objects.key(p), patch, "strategic", "status")


def _pod_keys(view: View, p: Object) -> Iterable[Key]:
    name = p["spec"].get("nodeName")
    if pod.is_terminal(p) and _beyond(view) > 0:
        yield ENDED
    if not name and objects.is_deleting(p):
        yield objects.key(p)
    node = view.get(NODE, ("", name)) if name else None
    if name and (node is None or (objects.is_deleting(p) and node["spec"].get("taints"))):
        yield "", name


def _matters(old: Object | None, new: Object | None) -> bool:
    """A pod comes, ends, is bound, or is to go."""
    if new is None:
        return False
    if old is None or pod.is_terminal(old) != pod.is_terminal(new):
        return True
    return pod.is_scheduled(old) != pod.is_scheduled(new) or objects.is_deleting(old) != objects.is_deleting(new)


def _node_matters(old: Object | None, new: Object | None) -> bool:
    """A node comes or goes, gets other taints, or is ready otherwise: not its signs of life."""
    return old is None or new is None or _state(old) != _state(new)


def _state(node: Object) -> tuple[object, ...]:
    return conditions.is_true(node, "Ready"), node["spec"].get("taints")


CONTROLLER = Controller(
    name="pod-garbage-collector",
    parent=NODE,
    reconcile=reconcile,
    matters=_node_matters,
    watches=(Watch(POD, _pod_keys, _matters),),
    indexes=(Index(POD, "spec.nodeName"), Index(POD, "status.phase")),
)
