"""Verdict: why a node is not for a pod. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.scheduling.demand import Demand
from sampan.scheduling.snapshot import Snapshot

__all__ = ["Demand", "Nodes", "Snapshot", "Verdict"]

Nodes = Sequence[int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Reasons, in upstream's words, and the plugin that says so. `is_final` when no pod's leaving could change it."""

    plugin: str
    reasons: tuple[str, ...]
    is_final: bool = True
