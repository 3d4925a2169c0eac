"""Cycle: one pod, one snapshot, one decision: the node that suits best, or why none does. Pure.

What filters and per-node scores say about pods of one shape is remembered, and asked again only for
the nodes that changed since; scores that depend on the whole field are made for each pod.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.scheduling.plugins import (
    node_affinity,
    node_name,
    node_ports,
    node_resources_balanced,
    node_resources_fit,
    node_unschedulable,
    pod_affinity,
    taint_toleration,
    topology_constraints,
    topology_spread,
)
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

Filter = Callable[[Demand, Nodes, Snapshot], list[Verdict | None]]
Score = Callable[[Demand, Nodes, Snapshot], list[float]]

# In upstream's order: a node is counted under the first filter that refuses it.
FILTERS: tuple[Filter, ...] = (
    node_unschedulable.filter,
    node_name.filter,
    taint_toleration.filter,
    node_affinity.filter,
    node_ports.filter,
    node_resources_fit.filter,
)
# Filters that look at other pods too: asked for each pod, after those above.
FIELD_FILTERS: tuple[Filter, ...] = (topology_constraints.filter, pod_affinity.filter)
# Scores 0..100 of a node by itself, summed.
OWN_SCORES: tuple[Score, ...] = (node_resources_fit.score, node_resources_balanced.score)
# Scores relative to the other nodes: weight, and whether less is better.
TAINT_WEIGHT, AFFINITY_WEIGHT, SPREAD_WEIGHT = 3, 2, 2
MAX_SHAPES = 256

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling."
NO_VICTIMS = "No preemption victims found for incoming pod."


@dataclass(frozen=True, slots=True)
class Decision:
    """`node` is the choice; when it is "", `message` says why there is none."""

    node: str = ""
    message: str = ""


@dataclass(slots=True)
class Memo:
    """What is known about pods of one shape: for each node a verdict and scores."""

    layout: int = -1
    seen: int = 0
    verdicts: list[Verdict | None] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    taints: list[float] = field(default_factory=list)
    affinity: list[float] = field(default_factory=list)
    feasible: list[int] = field(default_factory=list)


def decide(pod: Demand, snapshot: Snapshot) -> Decision:
    """The best node; among equals they take turns. Only the snapshot's notes and turn change."""
    if not len(snapshot):
        return Decision(message=NO_NODES)
    memo = _memo(pod, snapshot)
    refused = _verdicts(pod, memo.feasible, snapshot, FIELD_FILTERS)
    nodes = [n for n in memo.feasible if n not in refused] if refused else memo.feasible
    if not nodes:
        verdicts = [refused.get(n, verdict) for n, verdict in enumerate(memo.verdicts)]
        return Decision(message=explain(pod, verdicts, snapshot))
    scores = _scores(pod, memo, nodes, snapshot)
    best = max(scores)
    equals = [n for n, score in zip(nodes, scores, strict=True) if score == best]
    snapshot.turn += 1
    return Decision(snapshot.names[equals[snapshot.turn % len(equals)]])


def explain(pod: Demand, verdicts: list[Verdict | None], snapshot: Snapshot) -> str:
    """Why no node fits, as upstream words it."""
    counts = Counter(reason for verdict in verdicts if verdict for reason in verdict.reasons)
    message = f"{_none_of(snapshot)}: {_listed(counts)}."
    return " ".join(part for part in (message, _preemption(pod, verdicts, snapshot)) if part)


def _preemption(pod: Demand, verdicts: list[Verdict | None], snapshot: Snapshot) -> str:
    """What pushing others out would do. Silent where it could help, since pods are not pushed out here."""
    if pod.spec.get("preemptionPolicy") == "Never":
        return "preemption: not eligible due to preemptionPolicy=Never."
    counts: Counter[str] = Counter()
    for n, verdict in enumerate(verdicts):
        if verdict is None or verdict.is_final:
            counts[NOT_HELPFUL] += 1
        elif any(other.priority < pod.priority for other in snapshot.usage[n].pods.values()):
            return ""
        else:
            counts[NO_VICTIMS] += 1
    reasons = _listed(Counter({reason.removesuffix("."): count for reason, count in counts.items()}))
    return f"preemption: {_none_of(snapshot)}: {reasons}."


def _none_of(snapshot: Snapshot) -> str:
    return f"0/{len(snapshot)} nodes are available"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def _memo(pod: Demand, snapshot: Snapshot) -> Memo:
    """The memo of the pod's shape, brought up to date."""
    memo: Memo | None = snapshot.memo.get(pod.shape)
    if memo is None:
        if len(snapshot.memo) >= MAX_SHAPES:
            del snapshot.memo[next(iter(snapshot.memo))]
        memo = snapshot.memo[pod.shape] = Memo()
    if memo.layout != snapshot.layout:
        _ask_all(pod, memo, snapshot)
    elif memo.seen < len(snapshot.touched):
        _ask_again(pod, memo, sorted(set(snapshot.touched[memo.seen :])), snapshot)
    memo.layout, memo.seen = snapshot.layout, len(snapshot.touched)
    return memo


def _ask_all(pod: Demand, memo: Memo, snapshot: Snapshot) -> None:
    nodes = range(len(snapshot))
    refused = _verdicts(pod, nodes, snapshot, FILTERS)
    memo.verdicts = [refused.get(n) for n in nodes]
    memo.own = _own(pod, nodes, snapshot)
    memo.taints = taint_toleration.score(pod, nodes, snapshot)
    memo.affinity = node_affinity.score(pod, nodes, snapshot)
    memo.feasible = [n for n in nodes if memo.verdicts[n] is None]


def _ask_again(pod: Demand, memo: Memo, nodes: list[int], snapshot: Snapshot) -> None:
    refused = _verdicts(pod, nodes, snapshot, FILTERS)
    answers = (
        [refused.get(n) for n in nodes],
        _own(pod, nodes, snapshot),
        taint_toleration.score(pod, nodes, snapshot),
        node_affinity.score(pod, nodes, snapshot),
    )
    is_moved = False
    for n, verdict, own, taints, affinity in zip(nodes, *answers, strict=True):
        is_moved = is_moved or (verdict is None) != (memo.verdicts[n] is None)
        memo.verdicts[n], memo.own[n], memo.taints[n], memo.affinity[n] = verdict, own, taints, affinity
    if is_moved:
        memo.feasible = [n for n, verdict in enumerate(memo.verdicts) if verdict is None]


def _verdicts(pod: Demand, nodes: Nodes, snapshot: Snapshot, filters: tuple[Filter, ...]) -> dict[int, Verdict]:
    """The first refusal of each node that is refused. Each filter sees only the nodes that are still in."""
    found: dict[int, Verdict] = {}
    left = list(nodes)
    for each in filters:
        verdicts = each(pod, left, snapshot)
        if not any(verdicts):
            continue
        found.update((n, verdict) for n, verdict in zip(left, verdicts, strict=True) if verdict is not None)
        left = [n for n, verdict in zip(left, verdicts, strict=True) if verdict is None]
    return found


def _own(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    return [sum(scores) for scores in zip(*(score(pod, nodes, snapshot) for score in OWN_SCORES), strict=True)]


def _scores(pod: Demand, memo: Memo, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    """The sum of all scores for the nodes that are left."""
    total = [memo.own[n] for n in nodes]
    relative = (
        (TAINT_WEIGHT, True, [memo.taints[n] for n in nodes]),
        (AFFINITY_WEIGHT, False, [memo.affinity[n] for n in nodes]),
        (SPREAD_WEIGHT, True, topology_spread.score(pod, nodes, snapshot)),
    )
    for weight, less_is_better, raw in relative:
        low, high = min(raw), max(raw)
        if low == high:
            continue  # makes no difference
        if less_is_better:
            total = [t + weight * (100 * (high - r) // (high - low)) for t, r in zip(total, raw, strict=True)]
        else:
            total = [t + weight * (100 * r // high) for t, r in zip(total, raw, strict=True)]
    return total
