"""A Node's health: silent for 50 s (or what is asked for) is Unknown; taints follow conditions; pods on an unready node are not ready.

A node that has said nothing yet has 60 s to begin with. Which failing nodes drive their pods away, and how fast one
after another, is node_eviction's to say.

https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import Event, Key, Patch, Plan, Update, Write, normal, plan, warning
from sampan.control.view import View
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core import pod
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Object
from sampan.kinds.parts import node_taints
from sampan.meta import conditions, objects, timestamps

GRACE_SECONDS = 50.0
FIRST_GRACE_SECONDS = 60.0
CHECK_SECONDS = 5.0
LEASES = "kube-node-lease"
JUDGED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
PREFIX = "node.kubernetes.io/"
PRESSURES = {
    "MemoryPressure": "memory-pressure",
    "DiskPressure": "disk-pressure",
    "PIDPressure": "pid-pressure",
    "NetworkUnavailable": "network-unavailable",
}
OURS = {PREFIX + name for name in ("not-ready", "unreachable", "unschedulable", *PRESSURES.values())}


def reconcile(view: View, key: Key, now: float, grace_seconds: float = GRACE_SECONDS) -> Plan:
    """Conditions first; taints and pods follow from what the conditions then are."""
    node = view.get(NODE, key)
    if node is None:
        return Plan(events=_of_node(key[1], "RemovingNode", f"Removing Node {key[1]} from Controller"), memory={})
    plan_ = _judged(view, node, now, grace_seconds)
    if view.memory:
        return plan_
    met = _of_node(key[1], "RegisteredNode", f"Registered Node {key[1]} in Controller", node)
    return replace(plan_, events=(*met, *plan_.events), memory={"is_known": True})


def _judged(view: View, node: Object, now: float, grace_seconds: float) -> Plan:
    silence = _silence_seconds(view, node, now)
    grace = grace_seconds if conditions.status_of(node, "Ready") else FIRST_GRACE_SECONDS
    if silence > grace:
        listed = _unknown(node, now)
        if listed != (node.get("status") or {}).get("conditions"):
            status = {**(node.get("status") or {}), "conditions": listed}
            return plan([Update(NODE, {**node, "status": status}, "status")], events=_told(node, listed))
    # Not sooner than its lease can expire; at least each few seconds while it is silent.
    again = max(grace - silence, 0.0) + 0.1 if silence <= grace else CHECK_SECONDS
    taints = _taints(node, now)
    changed = (node["spec"].get("taints") or []) != taints
    spec = {**{k: v for k, v in node["spec"].items() if k != "taints"}, **({"taints": taints} if taints else {})}
    writes = [Update(NODE, {**node, "spec": spec})] if changed else []
    pods = [] if conditions.is_true(node, "Ready") else _unready_pods(view, objects.name(node), now)
    return replace(plan(writes, pods, again=again), is_watchdog=silence <= grace and not pods)


def _silence_seconds(view: View, node: Object, now: float) -> float:
    """Since when nothing was heard; by what was seen arriving, so that a jump of the wall clock harms nobody."""
    key = (LEASES, objects.name(node))
    if view.get(LEASE, key) is not None:
        return view.age_seconds(LEASE, key)
    ready = conditions.get(node, "Ready") or {}
    stamp = ready.get("lastHeartbeatTime") or node["metadata"].get("creationTimestamp")
    return now - timestamps.parse(stamp) if stamp else 0.0


def _unknown(node: Object, now: float) -> list[Object]:
    listed = list((node.get("status") or {}).get("conditions") or ())
    for type in JUDGED:
        current = conditions.find(listed, type)
        if current is None:
            text = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        elif current.get("status") == "Unknown":
            continue
        else:
            text = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        listed = conditions.set(listed, type, "Unknown", *text, now)
    return listed


def _told(node: Object, listed: Sequence[Object]) -> Iterable[Event]:
    if conditions.is_true(node, "Ready"):
        name = objects.name(node)
        yield normal("NodeNotReady", f"Node {name} status is now: NodeNotReady")


def _of_node(name: str, reason: str, text: str, node: Object | None = None) -> tuple[Event, ...]:
    metadata = node["metadata"] if node is not None else {"name": name}
    about = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
    return (normal(reason, f"Node {name} event: {text}", about),)


def _taints(node: Object, now: float) -> list[Object]:
    """The node's other taints, and those that its conditions mean; who is driven away is another rule's to say."""
    present = node["spec"].get("taints") or []
    wanted = _wanted_taints(node)
    kept = [t for t in present if t["key"] not in OURS or (t["key"], t["effect"]) in wanted]
    there = {(t["key"], t["effect"]) for t in kept}
    missing = [pair for pair in wanted if pair not in there]
    return [*kept, *({"key": k, "effect": e, "timeAdded": timestamps.format(now)} for k, e in missing)]


def _wanted_taints(node: Object) -> list[tuple[str, str]]:
    wanted = []
    ready = conditions.status_of(node, "Ready")
    if ready != "True":  # also of a node that just came and has said nothing yet
        name = node_taints.of_failure(ready)
        is_driving = any(node_taints.is_driving(taint) for taint in node["spec"].get("taints") or ())
        wanted += [(name, "NoSchedule"), *([(name, "NoExecute")] if is_driving else [])]
    wanted += [(PREFIX + name, "NoSchedule") for type, name in PRESSURES.items() if conditions.is_true(node, type)]
    if node["spec"].get("unschedulable"):
        wanted.append((PREFIX + "unschedulable", "NoSchedule"))
    return wanted


def _unready_pods(view: View, name: str, now: float) -> list[Write]:
    writes: list[Write] = []
    for p in view.indexed(POD, "spec.nodeName", name):
        if pod.is_ready(p) and not pod.is_terminal(p):
            change = {"type": "Ready", "status": "False", "lastTransitionTime": timestamps.format(now)}
            told = warning("NodeNotReady", "Node is not ready", {"apiVersion": "v1", "kind": "Pod", **p})
            patch = {"status": {"conditions": [change]}}
            write = Patch(POD, objects.key(p), patch, "strategic", "status", uid=objects.uid(p), done=told)
            # Of several who see it, or of one who sees it late, only the first tells when it was.
            writes.append(replace(write, resource_version=objects.resource_version(p)))
    return writes


def _matters(old: Object | None, new: Object | None) -> bool:
    """Not a ready node's sign of life that says nothing new: the timer looks in time, and is never later for one."""
    return old is None or new is None or not conditions.is_true(new, "Ready") or _state(old) != _state(new)


def _state(node: Object) -> tuple[object, ...]:
    listed = (node.get("status") or {}).get("conditions") or ()
    return objects.uid(node), node["spec"], [(c.get("type"), c.get("status")) for c in listed]


def _lease_keys(view: View, lease: Object) -> Iterable[Key]:
    """A heartbeat only matters where a node was given up; else the timer looks in time."""
    key = ("", objects.name(lease))
    node = view.get(NODE, key) if objects.namespace(lease) == LEASES else None
    if node is not None and conditions.status_of(node, "Ready") == "Unknown":
        yield key


def controller(grace_seconds: float) -> Controller:
    """With the time for which a node may be silent: --node-monitor-grace-period."""
    return replace(CONTROLLER, reconcile=partial(reconcile, grace_seconds=grace_seconds))


CONTROLLER = Controller(
    name="node-controller",
    parent=NODE,
    reconcile=reconcile,
    matters=_matters,
    watches=(Watch(LEASE, _lease_keys),),
    reads=(POD,),
    indexes=(Index(POD, "spec.nodeName"),),
)
