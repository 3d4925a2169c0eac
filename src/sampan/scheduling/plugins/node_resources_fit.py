"""A pod's requests fit into what the node has left; which of the fitting nodes are liked is the strategy's choice.

https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.scheduling import resources
from sampan.scheduling.framework import MAX_SCORE, Local
from sampan.scheduling.resources import Weights
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodeResourcesFit"
TOO_MANY = "Too many pods"
LEAST, MOST, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"

Rate = Callable[[int, int], int]  # of what will be requested, and of what there is: 0 to 100
Points = Sequence[tuple[int, int]]  # utilisation in per cent, score 0 to 100


def plugin(args: Mapping[str, Any]) -> Local:
    """`scoringStrategy`, `ignoredResources` and `ignoredResourceGroups` are its arguments."""
    ignored = frozenset(args.get("ignoredResources") or ())
    groups = frozenset(args.get("ignoredResourceGroups") or ())

    def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
        """Room for one more pod, and for each requested resource."""
        wanted = [(r, a) for r, a in pod.requests.items() if r not in ignored and r.partition("/")[0] not in groups]
        allocatable, usage = snapshot.allocatable, snapshot.usage
        found: list[Verdict | None] = []
        for n in nodes:
            has, used = allocatable[n], usage[n]
            left = used.requested
            fits = len(used.pods) < has.get("pods", 0)
            for resource, amount in wanted:
                if amount > has.get(resource, 0) - left.get(resource, 0):
                    fits = False
                    break
            found.append(None if fits else _lacking(wanted, n, snapshot))
        return found

    strategy = args.get("scoringStrategy") or {}
    weights = resources.weights(strategy.get("resources"))
    rate = _rates(strategy)
    if strategy.get("type", LEAST) == LEAST and weights == resources.DEFAULT:
        return Local(NAME, filter, reads_pods=True, score=_least)

    def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int]:
        return [_rated(pod, n, snapshot, weights, rate) for n in nodes]

    return Local(NAME, filter, reads_pods=True, score=score)


def _lacking(wanted: Sequence[tuple[str, int]], node: int, snapshot: Snapshot) -> Verdict | None:
    """None when devices stand in for all that is lacking."""
    has, usage, delegated = snapshot.allocatable[node], snapshot.usage[node], snapshot.delegated
    lacking = [(r, a) for r, a in wanted if a > has.get(r, 0) - usage.requested.get(r, 0)]
    if delegated:
        lacking = [(r, a) for r, a in lacking if has.get(r) or r not in delegated]
    reasons = [TOO_MANY] if len(usage.pods) + 1 > has.get("pods", 0) else []
    reasons += [f"Insufficient {resource}" for resource, _ in lacking]
    if not reasons:
        return None
    return Verdict(NAME, tuple(reasons), any(amount > has.get(resource, 0) for resource, amount in lacking))


def _least(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int]:
    """The default strategy, written out since it is asked most."""
    cpu, memory = pod.assumed
    allocatable, usage = snapshot.allocatable, snapshot.usage
    scores: list[int] = []
    for n in nodes:
        has, used = allocatable[n], usage[n]
        total = count = 0
        for amount, wanted in (
            (has.get("cpu", 0), used.assumed_cpu + cpu),
            (has.get("memory", 0), used.assumed_memory + memory),
        ):
            if amount:
                count += 1
                total += (amount - wanted) * MAX_SCORE // amount if wanted <= amount else 0
        scores.append(total // count if count else 0)
    return scores


def _rated(pod: Demand, node: int, snapshot: Snapshot, weights: Weights, rate: Rate) -> int:
    total = parts = 0
    for resource, weight in weights:
        has, wanted = resources.assumed(resource, pod, node, snapshot)
        if has:
            total += rate(wanted, has) * weight
            parts += weight
    return total // parts if parts else 0


def _rates(strategy: Mapping[str, Any]) -> Rate:
    kind = strategy.get("type", LEAST)
    if kind == MOST:
        return _most
    if kind != RATIO:
        return _left
    shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
    points = [(int(p.get("utilization", 0)), int(p.get("score", 0)) * 10) for p in shape]
    return lambda wanted, has: _along(points, wanted * 100 // has if wanted <= has else 100)


def _left(wanted: int, has: int) -> int:
    return (has - wanted) * MAX_SCORE // has if wanted <= has else 0


def _most(wanted: int, has: int) -> int:
    return min(wanted, has) * MAX_SCORE // has


def _along(points: Points, used: int) -> int:
    """The score on the line through the points."""
    for at, (utilisation, score) in enumerate(points):
        if used <= utilisation:
            if not at:
                return score
            before, low = points[at - 1]
            return low + int((score - low) * (used - before) / (utilisation - before))
    return points[-1][1] if points else 0
