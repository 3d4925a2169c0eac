"""Taints keep pods away that do not tolerate them; PreferNoSchedule only makes a node less liked.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from sampan.scheduling import tolerations
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

TAINTED = Verdict(("node(s) had untolerated taint(s)",))


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """Every NoSchedule and NoExecute taint is tolerated."""
    return [TAINTED if _intolerable(pod, n, snapshot, ("NoSchedule", "NoExecute")) else None for n in nodes]


def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    """How many PreferNoSchedule taints are not tolerated: the fewer the better."""
    return [_intolerable(pod, n, snapshot, ("PreferNoSchedule",)) for n in nodes]


def _intolerable(pod: Demand, node: int, snapshot: Snapshot, effects: tuple[str, ...]) -> int:
    taints = snapshot.specs[node].get("taints")
    if not taints:
        return 0
    accepted = pod.spec.get("tolerations") or ()
    return sum(1 for taint in taints if taint.get("effect") in effects and not tolerations.tolerate(accepted, taint))
