"""Cordoned nodes take no new pods, except those that tolerate it.

https://kubernetes.io/docs/concepts/architecture/nodes/#manual-node-administration
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import node_match
from sampan.scheduling.framework import Local
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodeUnschedulable"
CORDONED = Verdict(NAME, ("node(s) were unschedulable",))
TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def plugin(args: Mapping[str, Any]) -> Local:
    """It has no arguments."""
    return Local(NAME, filter)


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """spec.unschedulable keeps the pod away."""
    if node_match.tolerated(pod.spec.get("tolerations") or (), TAINT):
        return [None] * len(nodes)
    return [CORDONED if snapshot.specs[n].get("unschedulable") else None for n in nodes]
