"""Admission on the node: what is bound here by name, past the scheduler, may not fit, or not belong here (pure).

The order is upstream's: what can't be helped first, then resources, then affinity, name, ports and taints.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sampan.kinds.parts import node_match, pod_resources
from sampan.meta import objects, quantity
from sampan.node import host_rules

Object = Mapping[str, Any]
Reason = tuple[str, str]
"""As the pod's status has it: a reason and a message."""

OS_LABEL = "kubernetes.io/os"
CONFIG_SOURCE, CONFIG_MIRROR = "kubernetes.io/config.source", "kubernetes.io/config.mirror"
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")
_LACKS = "Node didn't have enough resource"
_UNLIKE = "node(s) didn't match Pod's node affinity/selector"
_TAINTED = "node(s) had taints that the pod didn't tolerate"


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource that there is too little of: what is asked for, what others have of it, and all there is."""

    name: str
    wanted: int
    used: int
    capacity: int

    @property
    def missing(self) -> int:
        """By how much it is too little."""
        return self.wanted + self.used - self.capacity

    @property
    def reason(self) -> Reason:
        """Why a pod is turned away for it."""
        numbers = f"requested: {self.wanted}, used: {self.used}, capacity: {self.capacity}"
        return f"OutOf{self.name}", f"{_LACKS}: {self.name}, {numbers}"


def needs(pod: Object) -> dict[str, int]:
    """What a pod takes of the node: cpu in thousandths, the rest in whole units; and one place."""
    asked = pod_resources.requests(pod["spec"])
    return {"pods": 1, **{name: _units(name, amount) for name, amount in asked.items()}}


def is_static(pod: Object) -> bool:
    """Whether it comes from a file of this node, not from the API."""
    return objects.annotations(pod).get(CONFIG_SOURCE, "api") != "api" and not is_mirror(pod)


def is_mirror(pod: Object) -> bool:
    """Whether it only shows the API a static pod."""
    return CONFIG_MIRROR in objects.annotations(pod)


def is_critical(pod: Object) -> bool:
    """Whether the node can't do without it: it gets room at others' expense."""
    return is_static(pod) or is_mirror(pod) or (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY


def wrong_system(pod: Object, node: Object) -> Reason | None:
    """Reason and message when it is meant for another operating system than the node's; else None."""
    here = objects.labels(node).get(OS_LABEL) or "linux"
    labelled, named = objects.labels(pod).get(OS_LABEL), (pod["spec"].get("os") or {}).get("name")
    if labelled is not None and labelled != here:
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return "PodOSSelectorNodeLabelDoesNotMatch", text
    if named is not None and named != here:
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    return None


def misplaced(pod: Object, others: Iterable[Object], node: Object) -> Reason | None:
    """Reason and message when the node isn't one that it may be on, or a port or taint is in its way; else None."""
    wish = node_match.wish(pod["spec"])
    if not replace(wish, node_name="").allows(node):
        return "NodeAffinity", f"Predicate NodeAffinity failed: {_UNLIKE}"
    if wish.node_name and wish.node_name != objects.name(node):
        return "NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name"
    if taken := host_rules.taken_port(pod, others):
        return taken
    taints = (node.get("spec") or {}).get("taints") or ()
    if not (is_static(pod) or wish.tolerates({"spec": {"taints": taints}}, node_match.NO_EXECUTE)):
        return "TaintToleration", f"Predicate TaintToleration failed: {_TAINTED}"
    return None


def unfit(
    wanted: Mapping[str, int], used: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]
) -> Reason | None:
    """Reason and message when a pod that is here can't be made so large: never (Infeasible), or not now (Deferred)."""
    if short := shortages(wanted, (), allocatable):
        name, capacity = short[0].name, short[0].capacity
        text = f"Node didn't have enough capacity: {name}, requested: {wanted[name]}, capacity: {capacity}"
        return "Infeasible", text
    if short := shortages(wanted, used, allocatable):
        return "Deferred", short[0].reason[1]
    return None


def shortages(
    wanted: Mapping[str, int], used: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]
) -> Sequence[Shortage]:
    """What there is too little of for a pod beside those that are there.

    Extended resources that the node itself knows nothing of are the scheduler's business alone.
    """
    taken: dict[str, int] = {}
    for needed in used:
        for name, amount in needed.items():
            taken[name] = taken.get(name, 0) + amount
    found = []
    for name in sorted(wanted, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        if "/" in name and name not in allocatable:
            continue
        short = Shortage(name, wanted[name], taken.get(name, 0), _units(name, allocatable.get(name, "0")))
        if short.wanted and short.missing > 0:
            found.append(short)
    return found


def _units(name: str, amount: Any) -> int:
    return quantity.to_milli(amount) if name == "cpu" else quantity.to_int(amount)
