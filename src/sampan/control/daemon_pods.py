"""Daemon pods: which node each one is for, on which nodes a DaemonSet wants one, and the pod that is made for a node.

The scheduler places them: a required affinity to the node's name leaves it one choice.

https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#how-daemon-pods-are-scheduled
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sampan.kinds.apps.daemon_set import DAEMONSET, TEMPLATE_GENERATION
from sampan.kinds.core import pod
from sampan.kinds.kind import Object
from sampan.kinds.parts import node_match
from sampan.meta import intstr, objects

HASH = "controller-revision-hash"
GENERATION = "pod-template-generation"
PREFIX = "node.kubernetes.io/"
TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
TOLERATED_ON_HOST_NETWORK = ("network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a node is to get a daemon pod, and whether one that it has may stay."""

    wanted: bool
    kept: bool


WANTED, KEPT, REFUSED = Fit(wanted=True, kept=True), Fit(wanted=False, kept=True), Fit(wanted=False, kept=False)


def fits(daemon_set: Object, nodes: Iterable[Object]) -> dict[str, Fit]:
    """Of each node by its name. A NoSchedule taint that came later lets a pod stay where it is."""
    spec = daemon_set["spec"]["template"].get("spec") or {}
    wish = node_match.wish({**spec, "tolerations": tolerations(spec)})
    return {objects.name(node): _fit(wish, node) for node in nodes}


def _fit(wish: node_match.Wish, node: Object) -> Fit:
    if not wish.allows(node):
        return REFUSED
    if wish.tolerates(node, node_match.NO_SCHEDULE, node_match.NO_EXECUTE):
        return WANTED
    return KEPT if wish.tolerates(node, node_match.NO_EXECUTE) else REFUSED


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Pods by the node that they are for, the oldest first but scheduled ones before others; homeless ones are left out."""
    found: dict[str, list[Object]] = {}
    for p in pods:
        node = target(p)
        if node:
            found.setdefault(node, []).append(p)
    for there in found.values():
        if len(there) > 1:
            there.sort(key=_seniority)
    return found


def _seniority(p: Object) -> tuple[bool, str, str]:
    return not pod.is_scheduled(p), p["metadata"].get("creationTimestamp", ""), objects.name(p)


def target(p: Object) -> str:
    """The node that a pod is on, or has to go to; "" when neither is said."""
    spec = p["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == node_match.NAME and field["operator"] == "In":
                return str(field["values"][0]) if len(field["values"]) == 1 else ""
    return ""


def template(daemon_set: Object, code: str) -> Object:
    """The pod template with what the pods of this revision have beside what it says."""
    written = daemon_set["spec"]["template"]
    metadata, spec = written.get("metadata") or {}, written.get("spec") or {}
    labels = {**(metadata.get("labels") or {})}
    number = generation(daemon_set)
    if number is not None:
        labels[GENERATION] = number
    labels[HASH] = code
    return {"metadata": {**metadata, "labels": labels}, "spec": {**spec, "tolerations": tolerations(spec)}}


def made(daemon_set: Object, template: Object, node: str) -> Object:
    """A new pod for a node, from `template`."""
    found = pod.from_template(daemon_set, DAEMONSET, template)
    found["spec"]["affinity"] = _bound(found["spec"].get("affinity") or {}, node)
    return found


def _bound(affinity: Object, node: str) -> Object:
    """The affinity with the node's name in place of the terms it required of nodes: those have been met."""
    name = {"key": node_match.NAME, "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [name]}]}
    of_nodes = affinity.get("nodeAffinity") or {}
    return {
        **affinity,
        "nodeAffinity": {**of_nodes, "requiredDuringSchedulingIgnoredDuringExecution": required},
    }


def tolerations(spec: Object) -> list[dict[str, Any]]:
    """Those that a pod spec has, and those that every daemon pod has."""
    found = list(spec.get("tolerations") or ())
    always = (*TOLERATED, TOLERATED_ON_HOST_NETWORK) if spec.get("hostNetwork") else TOLERATED
    for name, effect in always:
        wanted = {"key": PREFIX + name, "operator": "Exists", "effect": effect}
        same = [place for place, given in enumerate(found) if _is_same(given, wanted)]
        for place in same:  # without its tolerationSeconds
            found[place] = wanted
        if not same:
            found.append(wanted)
    return found


def _is_same(one: Object, other: Object) -> bool:
    return all((one.get(field) or "") == (other.get(field) or "") for field in ("key", "effect", "operator", "value"))


def generation(daemon_set: Object) -> str | None:
    """How often the template was changed, as the annotation has it."""
    number = intstr.whole(objects.annotations(daemon_set).get(TEMPLATE_GENERATION, ""))
    return str(number) if number is not None else None


def is_updated(p: Object, code: str, number: str | None) -> bool:
    """Whether a pod is of the present template, by the revision's code or by the number of changes."""
    labels = objects.labels(p)
    return labels.get(HASH) == code or (number is not None and labels.get(GENERATION) == number)
