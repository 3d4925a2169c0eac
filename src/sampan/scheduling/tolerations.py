"""Tolerations: whether a pod puts up with a node's taints. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.kinds.parts import node_match

HARD = ("NoSchedule", "NoExecute")


def tolerate_node(tolerations: Iterable[Mapping[str, Any]], spec: Mapping[str, Any]) -> bool:
    """Whether every taint of a node that keeps pods away is covered."""
    taints = spec.get("taints") or ()
    return all(node_match.tolerated(tolerations, taint) for taint in taints if taint.get("effect") in HARD)
