"""A pod that names its node goes nowhere else.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename
"""

from collections.abc import Mapping
from typing import Any

from sampan.scheduling.framework import Local
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodeName"
ANOTHER = Verdict(NAME, ("node(s) didn't match the requested node name",))


def plugin(args: Mapping[str, Any]) -> Local:
    """It has no arguments."""
    return Local(NAME, filter)


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """spec.nodeName, if set, is the node's name."""
    wanted = pod.spec.get("nodeName")
    if not wanted:
        return [None] * len(nodes)
    return [None if snapshot.names[n] == wanted else ANOTHER for n in nodes]
