"""Snapshot: the nodes and what is placed on them, as parallel arrays that plugins run over. Pure.

Kept up to date change by change rather than built for each pod; what a change touched is noted, so
that results for pods of one shape stay valid for all other nodes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduling.demand import Demand, Object, amount
from sampan.scheduling.tallies import Tallies
from sampan.scheduling.terms import Labels

MAX_NOTES = 20_000


@dataclass(slots=True)
class Usage:
    """What is placed on one node."""

    requested: dict[str, int] = field(default_factory=dict)
    assumed_cpu: int = 0
    assumed_memory: int = 0
    pods: dict[str, Demand] = field(default_factory=dict)  # by uid

    def add(self, demand: Demand) -> None:
        """One more pod."""
        self.pods[demand.uid] = demand
        self._count(demand, 1)

    def remove(self, demand: Demand) -> None:
        """One pod less."""
        del self.pods[demand.uid]
        self._count(demand, -1)

    def copy(self) -> "Usage":
        """One to try things with."""
        return Usage(dict(self.requested), self.assumed_cpu, self.assumed_memory, dict(self.pods))

    def _count(self, demand: Demand, sign: int) -> None:
        requested = self.requested
        for resource, wanted in demand.requests.items():
            requested[resource] = requested.get(resource, 0) + sign * wanted
        self.assumed_cpu += sign * demand.assumed[0]
        self.assumed_memory += sign * demand.assumed[1]


class Snapshot:
    """Nodes by index 0..n-1. `allocatable[i]`, `usage[i]`, `labels[i]`, `specs[i]`, `images[i]` describe node i."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.labels: list[Labels] = []
        self.specs: list[Object] = []
        self.allocatable: list[dict[str, int]] = []
        self.images: list[Mapping[str, int]] = []  # sizes in bytes
        self.features: list[Sequence[str]] = []  # that nodes declare
        self.usage: list[Usage] = []
        self.users: dict[tuple[str, str], dict[str, str]] = {}  # claim -> placed pods that use it, by uid -> node name
        self.tallies = Tallies()
        self.services: dict[str, dict[str, Labels]] = {}  # namespace -> service -> its selector
        self.spread = Counter[str]()  # on how many nodes an image is
        self.priorities = Counter[int]()  # of placed pods
        self.layout = 0  # changes when indexes do
        self.version = 0  # changes with everything
        self.services_version = 0
        self.touched: list[int] = []  # indexes changed since the layout did, in order
        self.memo: dict[Any, Any] = {}  # the cycle's
        self.last = -1  # the node that was chosen last: equals take turns
        self.delegated: frozenset[str] = frozenset()  # extended resources that nodes need not have: devices stand in
        self.nominated: dict[str, dict[str, Demand]] = {}  # node name -> pods that wait for room there, by uid
        self.nominations: dict[str, str] = {}  # pod uid -> node name
        self._usage: dict[str, Usage] = {}  # by node name, also of nodes that are not there (yet)
        self._where: dict[str, tuple[str, Demand]] = {}

    def set_node(self, node: Object) -> bool:
        """Adds or replaces a node; says whether anything that matters to placement changed."""
        name = str(node["metadata"]["name"])
        labels = node["metadata"].get("labels") or {}
        spec = node.get("spec") or {}
        status = node.get("status") or {}
        allocatable = {r: amount(r, value) for r, value in (status.get("allocatable") or {}).items()}
        images = _images(status.get("images") or ())
        features = status.get("declaredFeatures") or ()
        at = self.index.get(name)
        if at is None:
            self._append(name)
            at = self.index[name]
        elif (self.labels[at], self.specs[at], self.allocatable[at], self.features[at]) == (
            labels,
            spec,
            allocatable,
            features,
        ):
            if self.images[at] != images:
                self._set_images(at, images)
                self._touch(name)
            return False
        self.labels[at], self.specs[at], self.allocatable[at], self.features[at] = labels, spec, allocatable, features
        self._set_images(at, images)
        self._touch(name)
        return True

    def remove_node(self, name: str) -> None:
        """Forgets a node; what is placed on it stays noted under its name."""
        at = self.index.pop(name, None)
        if at is None:
            return
        self._set_images(at, {})
        for array in (
            self.names,
            self.labels,
            self.specs,
            self.allocatable,
            self.images,
            self.features,
            self.usage,
        ):
            del array[at]
        self.index = {name: n for n, name in enumerate(self.names)}
        self._relayout()

    def place(self, demand: Demand, node: str) -> None:
        """The pod is on the node (or about to be). Again is harmless; elsewhere moves it."""
        if (before := self._where.get(demand.uid)) is not None:
            if before[0] == node and before[1].is_like(demand):
                before[1].pod = demand.pod
                return
            self.displace(demand.uid)
        self.nominate(demand, "")
        self._where[demand.uid] = (node, demand)
        self._usage.setdefault(node, Usage()).add(demand)
        self.tallies.place(demand, node)
        for claim in demand.claims:
            self.users.setdefault((demand.namespace, claim), {})[demand.uid] = node
        self.priorities[demand.priority] += 1
        self._touch(node)

    def relabel(self, demand: Demand) -> None:
        """The placed pod has other labels, and is else as it was."""
        node, before = self._where[demand.uid]
        self.tallies.displace(before, node)
        self.tallies.place(demand, node)
        self._usage[node].pods[demand.uid] = demand
        self._where[demand.uid] = (node, demand)
        self._touch(node)

    def displace(self, uid: str) -> bool:
        """The pod is nowhere any more; says whether it was anywhere."""
        found = self._where.pop(uid, None)
        if found is None:
            return False
        node, demand = found
        usage = self._usage[node]
        usage.remove(demand)
        self.tallies.displace(demand, node)
        for claim in demand.claims:
            users = self.users[demand.namespace, claim]
            del users[uid]
            if not users:
                del self.users[demand.namespace, claim]
        self.priorities[demand.priority] -= 1
        if not self.priorities[demand.priority]:
            del self.priorities[demand.priority]
        if not usage.pods and node not in self.index:
            del self._usage[node]
        self._touch(node)
        return True

    def nominate(self, demand: Demand, node: str) -> None:
        """The pod waits for room on the node; "" for on none."""
        uid, before = demand.uid, self.nominations.get(demand.uid, "")
        if before == node:
            return
        self.version += 1
        if before:
            del self.nominations[uid]
            waiting = self.nominated[before]
            del waiting[uid]
            if not waiting:
                del self.nominated[before]
        if node:
            self.nominations[uid] = node
            self.nominated.setdefault(node, {})[uid] = demand
            if demand.has_terms:
                self.tallies.bear(demand)

    def set_namespace(self, name: str, labels: Labels | None) -> bool:
        """The labels of a namespace, or that it is gone; says whether that changes whom terms mean."""
        if not self.tallies.set_namespace(name, labels):
            return False
        self._relayout()
        return True

    def set_delegated(self, resources: frozenset[str]) -> bool:
        """Extended resources for which devices stand in; says whether there are others than there were."""
        if self.delegated == resources:
            return False
        self.delegated = resources
        self._relayout()
        return True

    def set_service(self, namespace: str, name: str, selector: Labels | None) -> None:
        """Whom a service selects; None for none."""
        known = self.services.get(namespace, {})
        if known.get(name) == selector:
            return
        self.services_version += 1
        if selector:
            self.services.setdefault(namespace, known)[name] = selector
            return
        known.pop(name, None)
        if not known:
            self.services.pop(namespace, None)

    def node_of(self, uid: str) -> str:
        """The name of the node that a pod is placed on; "" for none."""
        return self._where[uid][0] if uid in self._where else ""

    def placed(self, uid: str) -> Demand | None:
        """A placed pod."""
        return self._where[uid][1] if uid in self._where else None

    def __len__(self) -> int:
        return len(self.names)

    def _append(self, name: str) -> None:
        self.index[name] = len(self.names)
        self.names.append(name)
        for array in (self.labels, self.specs, self.allocatable, self.images):
            array.append({})
        self.features.append(())
        self.usage.append(self._usage.setdefault(name, Usage()))

    def _set_images(self, at: int, images: Mapping[str, int]) -> None:
        for image in self.images[at]:
            self.spread[image] -= 1
            if not self.spread[image]:
                del self.spread[image]
        for image in images:
            self.spread[image] += 1
        self.images[at] = images

    def _relayout(self) -> None:
        self.layout += 1
        self.version += 1
        self.touched.clear()

    def _touch(self, node: str) -> None:
        at = self.index.get(node)
        if at is None:
            return
        self.version += 1
        self.touched.append(at)
        if len(self.touched) > max(MAX_NOTES, 4 * len(self.names)):
            self._relayout()


def _images(listed: Any) -> Mapping[str, int]:
    return {str(name): int(each.get("sizeBytes") or 0) for each in listed for name in each.get("names") or ()}
