"""Snapshot: the nodes and what is placed on them, as parallel arrays that plugins run over. Pure.

Kept up to date change by change rather than built for each pod; what a change touched is noted, so
that results for pods of one shape stay valid for all other nodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduling.demand import Demand, Object, amount

ZONE = "topology.kubernetes.io/zone"
MAX_NOTES = 10_000


@dataclass(slots=True)
class Usage:
    """What is placed on one node."""

    requested: dict[str, int] = field(default_factory=dict)
    assumed_cpu: int = 0
    assumed_memory: int = 0
    pods: dict[str, Demand] = field(default_factory=dict)  # by uid


class Snapshot:
    """Nodes by index 0..n-1. `allocatable[i]`, `usage[i]`, `labels[i]`, `specs[i]` describe node i."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.labels: list[Mapping[str, str]] = []
        self.specs: list[Object] = []
        self.allocatable: list[dict[str, int]] = []
        self.usage: list[Usage] = []
        self.owned: dict[str, dict[str, int]] = {}  # controller uid -> node name -> its pods there
        self.guarded: dict[str, tuple[Demand, str]] = {}  # pods with required anti-affinity, and their nodes
        self.layout = 0  # changes when indexes do
        self.touched: list[int] = []  # indexes changed since the layout did, in order
        self.memo: dict[str, Any] = {}  # the cycle's, by shape
        self.turn = 0  # how many pods were placed by choice: rotates among equals
        self._usage: dict[str, Usage] = {}  # by node name, also of nodes that are not there (yet)
        self._where: dict[str, tuple[str, Demand]] = {}

    def set_node(self, node: Object) -> bool:
        """Adds or replaces a node; says whether anything that matters to placement changed."""
        name = str(node["metadata"]["name"])
        labels = node["metadata"].get("labels") or {}
        spec = node.get("spec") or {}
        amounts = (node.get("status") or {}).get("allocatable") or {}
        allocatable = {resource: amount(resource, value) for resource, value in amounts.items()}
        at = self.index.get(name)
        if at is None:
            self._append(name)
            at = self.index[name]
        elif (self.labels[at], self.specs[at], self.allocatable[at]) == (labels, spec, allocatable):
            return False
        self.labels[at], self.specs[at], self.allocatable[at] = labels, spec, allocatable
        self._touch(name)
        return True

    def remove_node(self, name: str) -> None:
        """Forgets a node; what is placed on it stays noted under its name."""
        at = self.index.pop(name, None)
        if at is None:
            return
        for array in (self.names, self.labels, self.specs, self.allocatable, self.usage):
            del array[at]
        self.index = {name: n for n, name in enumerate(self.names)}
        self._relayout()

    def place(self, demand: Demand, node: str) -> None:
        """The pod is on the node (or about to be). Again is harmless; elsewhere moves it."""
        if (before := self._where.get(demand.uid)) is not None:
            if before[0] == node and before[1].is_like(demand):
                return
            self.displace(demand.uid)
        self._where[demand.uid] = (node, demand)
        usage = self._usage.setdefault(node, Usage())
        usage.pods[demand.uid] = demand
        self._count(usage, demand, 1)
        if demand.is_guarded:
            self.guarded[demand.uid] = (demand, node)
        if demand.owner:
            counts = self.owned.setdefault(demand.owner, {})
            counts[node] = counts.get(node, 0) + 1
        self._touch(node)

    def displace(self, uid: str) -> bool:
        """The pod is nowhere any more; says whether it was anywhere."""
        found = self._where.pop(uid, None)
        if found is None:
            return False
        node, demand = found
        self.guarded.pop(uid, None)
        usage = self._usage[node]
        del usage.pods[uid]
        self._count(usage, demand, -1)
        if demand.owner:
            self._discount(demand.owner, node)
        if not usage.pods and node not in self.index:
            del self._usage[node]
        self._touch(node)
        return True

    def __len__(self) -> int:
        return len(self.names)

    def _append(self, name: str) -> None:
        self.index[name] = len(self.names)
        self.names.append(name)
        self.labels.append({})
        self.specs.append({})
        self.allocatable.append({})
        self.usage.append(self._usage.setdefault(name, Usage()))
        self._relayout()

    def _relayout(self) -> None:
        self.layout += 1
        self.touched.clear()

    def _touch(self, node: str) -> None:
        at = self.index.get(node)
        if at is None:
            return
        self.touched.append(at)
        if len(self.touched) > MAX_NOTES:
            self._relayout()

    def _count(self, usage: Usage, demand: Demand, sign: int) -> None:
        for resource, wanted in demand.requests.items():
            usage.requested[resource] = usage.requested.get(resource, 0) + sign * wanted
        usage.assumed_cpu += sign * demand.assumed[0]
        usage.assumed_memory += sign * demand.assumed[1]

    def _discount(self, owner: str, node: str) -> None:
        counts = self.owned[owner]
        counts[node] -= 1
        if not counts[node]:
            del counts[node]
        if not counts:
            del self.owned[owner]
