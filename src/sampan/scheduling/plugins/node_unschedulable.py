"""Cordoned nodes take no new pods, except those that tolerate it.

https://kubernetes.io/docs/concepts/architecture/nodes/#manual-node-administration
"""

from sampan.scheduling import tolerations
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

CORDONED = Verdict(("node(s) were unschedulable",))
TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """spec.unschedulable keeps the pod away."""
    if tolerations.tolerate(pod.spec.get("tolerations") or (), TAINT):
        return [None] * len(nodes)
    return [CORDONED if snapshot.specs[n].get("unschedulable") else None for n in nodes]
