"""A pod that needs a feature of the node agent goes where the node declares it.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-declared-features/
"""

from collections.abc import Mapping
from typing import Any

from sampan.scheduling.framework import Local
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodeDeclaredFeatures"
MISSING = Verdict(NAME, ("node(s) didn't match Pod's required features",))


def plugin(args: Mapping[str, Any]) -> Local:
    """It has no arguments."""
    return Local(NAME, filter)


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """All that are needed are declared."""
    needed = set(pod.features)
    if not needed:
        return [None] * len(nodes)
    return [None if needed <= set(snapshot.features[n]) else MISSING for n in nodes]
