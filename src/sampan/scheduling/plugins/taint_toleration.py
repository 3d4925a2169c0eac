"""Taints keep pods away that do not tolerate them; PreferNoSchedule only makes a node less liked.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from sampan.kinds.parts import node_match
from sampan.scheduling import tolerations
from sampan.scheduling.framework import Local, normalised
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "TaintToleration"
TAINTED = Verdict(NAME, ("node(s) had untolerated taint(s)",))


def plugin(args: Mapping[str, Any]) -> Local:
    """It has no arguments."""
    return Local(NAME, filter, sign=sign, weigh=weigh)


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """Every NoSchedule and NoExecute taint is tolerated."""
    specs = snapshot.specs
    if not any(specs[n].get("taints") for n in nodes):
        return [None] * len(nodes)
    accepted = pod.spec.get("tolerations") or ()
    return [TAINTED if not tolerations.tolerate_node(accepted, specs[n]) else None for n in nodes]


def sign(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int]:
    """How many PreferNoSchedule taints are not tolerated."""
    accepted = [t for t in pod.spec.get("tolerations") or () if t.get("effect") in (None, "", "PreferNoSchedule")]
    return [_unwelcome(snapshot.specs[n].get("taints"), accepted) for n in nodes]


def weigh(signs: Sequence[Hashable], snapshot: Snapshot) -> Sequence[int]:
    """The fewer the better."""
    return normalised(signs, reverse=True)  # type: ignore[arg-type]  # they are what `sign` gave


def _unwelcome(taints: Any, accepted: Sequence[Any]) -> int:
    if not taints:
        return 0
    return sum(1 for t in taints if t.get("effect") == "PreferNoSchedule" and not node_match.tolerated(accepted, t))
