"""What must hold for pods and nodes: a pod has one place, and a place has room for it."""

from typing import Any, ClassVar

from sampan.cluster.history import Change
from sampan.cluster.rules.rule import Rule
from sampan.kinds.core import pod
from sampan.kinds.parts import node_match
from sampan.meta import objects
from sampan.scheduling import demand

Object = dict[str, Any]

PODS, NODES = "pods", "nodes"
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class PodsStayWhereTheyAre(Rule):
    """A pod that has a node never gets another one."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        was, now = _node(old), _node(change.tree)
        return f"it moved from node {was} to {now or 'none'}" if was and now != was else ""


class BoundPodsFit(Rule):
    """A pod is bound only to a node on which there is room for what it and all others there request."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)
    is_of_one: ClassVar[bool] = True

    def judge(self, change: Change, old: Object | None) -> str:
        node = _node(change.tree)
        if old is None or _node(old) or not node:
            return ""
        others = [p for p in self.world.on_node(node) if not pod.is_terminal(p)]
        return _excess(self.world.versions(NODES, node), [*others, change.tree])


class RunningPodsFit(Rule):
    """All pods that run on a node together never request more than it has, whoever put them there."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        if change.type == "DELETED" or not _runs(change.tree) or (old is not None and _runs(old)):
            return ""
        node, uid = _node(change.tree), objects.uid(change.tree)
        others = [p for p in self.world.on_node(node) if _runs(p) and objects.uid(p) != uid]
        return _excess(self.world.versions(NODES, node), [*others, change.tree])


class TaintsKeepPodsAway(Rule):
    """A pod is bound only to a node that is not cordoned and whose NoSchedule and NoExecute taints it tolerates."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        node = _node(change.tree)
        if old is None or _node(old) or not node:
            return ""
        wanted = change.tree["spec"].get("tolerations") or ()
        refusals = []
        for version in self.world.versions(NODES, node):
            spec = version.get("spec") or {}
            taints = [t for t in spec.get("taints") or () if t["effect"] in ("NoSchedule", "NoExecute")]
            taints += [CORDONED] if spec.get("unschedulable") else []
            refusals.append([t for t in taints if not node_match.tolerated(wanted, t)])
        if not refusals or not all(refusals):
            return ""
        taint = refusals[-1][0]
        return f"it was bound to node {node}, whose taint {taint['key']}:{taint['effect']} it does not tolerate"


class BoundPodsHaveANode(Rule):
    """A pod is bound only to a node that there is."""

    resources: ClassVar[tuple[str, ...]] = (PODS,)

    def judge(self, change: Change, old: Object | None) -> str:
        node = _node(change.tree)
        if old is None or _node(old) or not node or self.world.versions(NODES, node):
            return ""
        return f"it was bound to node {node}, which there is not"


RULES: tuple[type[Rule], ...] = (
    PodsStayWhereTheyAre,
    BoundPodsHaveANode,
    BoundPodsFit,
    RunningPodsFit,
    TaintsKeepPodsAway,
)


def _node(p: Object | None) -> str:
    return ((p or {}).get("spec") or {}).get("nodeName") or ""


def _runs(p: Object) -> bool:
    return (p.get("status") or {}).get("phase") == "Running"


def _excess(nodes: list[Object], pods: list[Object]) -> str:
    """What is too much for each of a node's versions; "" when it fits one of them."""
    used: dict[str, int] = {"pods": len(pods)}
    for p in pods:
        for name, amount in demand.of(p).requests.items():
            used[name] = used.get(name, 0) + amount
    found = ""
    for node in nodes:
        has = (node.get("status") or {}).get("allocatable") or {}
        most = {name: demand.amount(name, has.get(name, 0)) for name in used}
        beyond = [name for name in sorted(used) if used[name] > most[name]]
        if not beyond:
            return ""
        name = beyond[0]
        found = f"node {objects.name(node)} has {most[name]} of {name}, and its pods now take {used[name]}"
    return found
