"""Nodes whose resources would be used in like shares are liked better.

https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins
"""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from sampan.scheduling import resources
from sampan.scheduling.framework import MAX_SCORE, Local
from sampan.scheduling.resources import Weights
from sampan.scheduling.verdict import Demand, Nodes, Snapshot

NAME = "NodeResourcesBalancedAllocation"


def plugin(args: Mapping[str, Any]) -> Local:
    """`resources` are those to compare."""
    compared = resources.weights(args.get("resources"))

    def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int]:
        """100 when the shares are equal, less by their standard deviation; 0 for a pod that requests nothing."""
        if not any(pod.requests.get(resource) for resource, _ in compared):
            return [0] * len(nodes)
        if compared == resources.DEFAULT:
            return _of_two(pod, nodes, snapshot)
        return [_balance(pod, n, snapshot, compared) for n in nodes]

    return Local(NAME, score=score)


def _of_two(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int]:
    """For cpu and memory, written out since it is asked most."""
    cpu, memory = pod.requests.get("cpu", 0), pod.requests.get("memory", 0)
    scores: list[int] = []
    for n in nodes:
        has, used = snapshot.allocatable[n], snapshot.usage[n].requested
        cores, size = has.get("cpu", 0), has.get("memory", 0)
        if not cores or not size:
            scores.append(MAX_SCORE)
            continue
        first = min((used.get("cpu", 0) + cpu) / cores, 1.0)
        second = min((used.get("memory", 0) + memory) / size, 1.0)
        scores.append(int((1 - abs((first - second) / 2)) * MAX_SCORE))
    return scores


def _balance(pod: Demand, node: int, snapshot: Snapshot, compared: Weights) -> int:
    amounts = [resources.requested(resource, pod, node, snapshot) for resource, _ in compared]
    shares = [min(wanted / has, 1.0) for has, wanted in amounts if has]
    if len(shares) < 2:
        return MAX_SCORE
    if len(shares) == 2:
        return int((1 - abs((shares[0] - shares[1]) / 2)) * MAX_SCORE)
    mean = sum(shares) / len(shares)
    deviation = sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    return int((1 - deviation) * MAX_SCORE)
