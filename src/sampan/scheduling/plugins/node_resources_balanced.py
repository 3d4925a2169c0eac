"""Nodes whose cpu and memory would be used in like shares are liked better.

https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins
"""

from sampan.scheduling.verdict import Demand, Nodes, Snapshot


def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    """100 when the shares are equal, less by their standard deviation."""
    cpu, memory = pod.assumed
    scores: list[float] = []
    for n in nodes:
        has, usage = snapshot.allocatable[n], snapshot.usage[n]
        shares = (
            _share(usage.assumed_cpu + cpu, has.get("cpu", 0)),
            _share(usage.assumed_memory + memory, has.get("memory", 0)),
        )
        scores.append(int(100 * (1 - abs(shares[0] - shares[1]) / 2)))
    return scores


def _share(used: int, has: int) -> float:
    return min(used / has, 1.0) if has else 1.0
