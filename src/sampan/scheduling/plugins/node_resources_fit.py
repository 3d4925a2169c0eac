"""A pod's requests fit into what the node has left; emptier nodes are liked better.

https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
"""

from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

TOO_MANY = "Too many pods"


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """Room for one more pod, and for each requested resource."""
    return [_lacking(pod, n, snapshot) for n in nodes]


def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    """The share of cpu and memory that would be left, 0 to 100 (least allocated)."""
    cpu, memory = pod.assumed
    scores: list[float] = []
    for n in nodes:
        has, usage = snapshot.allocatable[n], snapshot.usage[n]
        free = _free(has.get("cpu", 0), usage.assumed_cpu + cpu) + _free(
            has.get("memory", 0), usage.assumed_memory + memory
        )
        scores.append(free // 2)
    return scores


def _free(has: int, used: int) -> int:
    return (has - used) * 100 // has if has >= used and has else 0


def _lacking(pod: Demand, node: int, snapshot: Snapshot) -> Verdict | None:
    has, usage = snapshot.allocatable[node], snapshot.usage[node]
    reasons: list[str] = []
    is_final = False
    if len(usage.pods) + 1 > has.get("pods", 0):
        reasons.append(TOO_MANY)
    for resource, wanted in pod.requests.items():
        if wanted > has.get(resource, 0) - usage.requested.get(resource, 0):
            reasons.append(f"Insufficient {resource}")
            is_final = is_final or wanted > has.get(resource, 0)
    return Verdict(tuple(reasons), is_final) if reasons else None
