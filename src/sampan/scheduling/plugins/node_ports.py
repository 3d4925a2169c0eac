"""Two pods cannot have the same port of one node.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports
"""

from collections.abc import Mapping
from typing import Any

from sampan.scheduling.demand import Port
from sampan.scheduling.framework import Local
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodePorts"
TAKEN = Verdict(NAME, ("node(s) didn't have free ports for the requested pod ports",), is_final=False)
ANY = "0.0.0.0"


def plugin(args: Mapping[str, Any]) -> Local:
    """It has no arguments."""
    return Local(NAME, filter, reads_pods=True)


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """None of the pod's host ports is taken on the node."""
    if not pod.ports:
        return [None] * len(nodes)
    return [TAKEN if _is_taken(pod.ports, n, snapshot) else None for n in nodes]


def _is_taken(wanted: tuple[Port, ...], node: int, snapshot: Snapshot) -> bool:
    taken = {port for other in snapshot.usage[node].pods.values() for port in other.ports}
    return any(_collide(port, other) for port in wanted for other in taken)


def _collide(one: Port, other: Port) -> bool:
    return one[0] == other[0] and one[2] == other[2] and (one[1] == other[1] or ANY in (one[1], other[1]))
