"""Pods that were to be disrupted but are still there after two minutes: their DisruptionTarget is taken back.

https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

from sampan.control.controller import Controller
from sampan.control.plan import Key, Patch, Plan, plan
from sampan.control.view import View
from sampan.kinds.core import pod
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps

STALE_SECONDS = 120.0
TARGET = "DisruptionTarget"
BY_NODE = "TerminationByKubelet"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """A node's own announcement is never stale: it may take long to end a pod."""
    p = view.get(POD, key)
    condition = _claim(p)
    if p is None or condition is None:
        return Plan()
    since = condition.get("lastTransitionTime")
    left = timestamps.parse(since) + STALE_SECONDS - now if since else 0.0
    return Plan(again=left) if left > 0 else plan([_take_back(p, now)])


def _claim(p: Object | None) -> Object | None:
    """The condition that says that the pod is about to be ended."""
    if p is None or not conditions.is_true(p, TARGET) or not pod.is_active(p):
        return None
    condition = conditions.get(p, TARGET)
    return condition if condition and condition.get("reason") != BY_NODE else None


def _is_claimed(old: Object | None, new: Object | None) -> bool:
    return _claim(new) is not None


def _take_back(p: Object, now: float) -> Patch:
    condition = {"type": TARGET, "status": "False", "lastTransitionTime": timestamps.format(now)}
    patch = {"status": {"conditions": [condition]}}
    version = objects.resource_version(p)
    return Patch(POD, objects.key(p), patch, "strategic", "status", objects.uid(p), version)


CONTROLLER = Controller(name="stale-pod-disruption-controller", parent=POD, reconcile=reconcile, matters=_is_claimed)
