"""Pools: which devices drivers advertise, at the newest generation of each pool, and which of them a node reaches. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#resourceslice
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from sampan.kinds.parts import node_match
from sampan.kinds.parts.node_match import Term
from sampan.meta import objects, quantity

MAX_VIEWS = 64

Tree = Mapping[str, Any]
PoolId = tuple[str, str]  # driver, pool
DeviceId = tuple[str, str, str]  # driver, pool, device
Counters = Mapping[tuple[str, str], int]  # counter set, counter -> nanos


@dataclass(frozen=True, slots=True)
class Place:
    """Where devices are: on one node, on those that a selector means, or everywhere."""

    node: str = ""
    selector: Tree | None = None
    terms: tuple[Term, ...] = ()
    is_everywhere: bool = False

    def reaches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the node is there."""
        if self.node:
            return self.node == name
        return self.is_everywhere or any(term.matches(name, labels) for term in self.terms)


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """One device. `attributes` and `capacity` are by full names; `matched` is what selectors have said of it."""

    driver: str
    pool: str
    name: str
    tree: Tree
    place: Place
    attributes: Mapping[str, Any]
    capacity: Mapping[str, Tree]
    counters: Counters
    matched: dict[str, bool | str] = field(default_factory=dict)

    @property
    def id(self) -> DeviceId:
        """What tells it from all others."""
        return self.driver, self.pool, self.name

    @property
    def is_shared(self) -> bool:
        """Whether several may have it at once."""
        return bool(self.tree.get("allowMultipleAllocations"))

    @property
    def taints(self) -> Iterable[Tree]:
        """What keeps it from those who don't tolerate that."""
        return self.tree.get("taints") or ()


class Slice:
    """A ResourceSlice. Its devices are read when they are first asked for."""

    def __init__(self, tree: Tree) -> None:
        spec = tree["spec"]
        self.name = objects.name(tree)
        self.driver, self.pool = str(spec["driver"]), str(spec["pool"]["name"])
        self.generation = int(spec["pool"].get("generation") or 0)
        self.size = int(spec["pool"].get("resourceSliceCount") or 0)
        self.is_each = bool(spec.get("perDeviceNodeSelection"))
        self.place = _place(spec)
        self.spec = spec
        self._devices: tuple[Device, ...] | None = None

    @property
    def devices(self) -> tuple[Device, ...]:
        """In the order in which they are listed."""
        if self._devices is None:
            self._devices = tuple(self._device(each) for each in self.spec.get("devices") or ())
        return self._devices

    def reached(self, name: str, labels: Mapping[str, str]) -> tuple[Device, ...]:
        """Those that the node reaches."""
        if self.is_each:
            return tuple(device for device in self.devices if device.place.reaches(name, labels))
        return self.devices if self.place.reaches(name, labels) else ()

    def _device(self, tree: Tree) -> Device:
        attributes = {_full(name, self.driver): value for name, value in (tree.get("attributes") or {}).items()}
        capacity = {_full(name, self.driver): value for name, value in (tree.get("capacity") or {}).items()}
        place = _place(tree) if self.is_each else self.place
        counters = _counters(tree.get("consumesCounters") or (), "counterSet")
        return Device(self.driver, self.pool, str(tree["name"]), tree, place, attributes, capacity, counters)


class Pool:
    """The slices of one generation. `serial` is another number for each that is made; `fault` is what is wrong.

    `waits` says that it has devices that are got ready only when they are given away: others are taken first.
    """

    _serials = count(1)

    def __init__(self, id: PoolId, slices: list[Slice]) -> None:
        self.id = id
        self.serial = next(Pool._serials)
        newest = max(each.generation for each in slices)
        self.slices = sorted((each for each in slices if each.generation == newest), key=lambda each: each.name)
        self.is_complete = len(self.slices) == self.slices[0].size
        sets = [each for part in self.slices for each in part.spec.get("sharedCounters") or ()]
        self.counters = _counters(sets, "name")
        self.waits = any(device.tree.get("bindingConditions") for device in self.devices())
        self.fault = self._fault([str(each["name"]) for each in sets]) if self.is_complete else ""

    @property
    def is_usable(self) -> bool:
        """Whether devices may be taken from it."""
        return self.is_complete and not self.fault

    def devices(self) -> Iterable[Device]:
        """All of them, wherever they are."""
        return (device for part in self.slices for device in part.devices)

    def _fault(self, sets: list[str]) -> str:
        seen: set[str] = set()
        for name in sets:
            if name in seen:
                return f"duplicate counter set name {name}"
            seen.add(name)
        seen.clear()
        for device in self.devices():
            if device.name in seen:
                return f"duplicate device name {device.name}"
            seen.add(device.name)
            for counter_set, counter in device.counters:
                if counter_set not in sets:
                    return f"counter set {counter_set} not found"
                if (counter_set, counter) not in self.counters:
                    return f"counter {counter} not found in counter set {counter_set}"
        return ""


@dataclass(frozen=True, slots=True)
class Reach:
    """A pool as one node sees it: with the devices that the node reaches."""

    pool: Pool
    devices: tuple[Device, ...]


class Catalogue:
    """All slices, kept up to date one by one."""

    def __init__(self) -> None:
        self._slices: dict[PoolId, dict[str, Slice]] = {}
        self._pools: dict[PoolId, Pool] = {}
        self._of_node: dict[str, set[PoolId]] = {}  # by the names of nodes that slices are of
        self._nodes: dict[PoolId, set[str]] = {}  # the same the other way round
        self._wide: dict[PoolId, None] = {}  # pools with slices that are not of one node
        self._reaches: dict[str, tuple[Mapping[str, str], tuple[Reach, ...]]] = {}
        self._views: dict[tuple[Any, ...], tuple[Reach, ...]] = {}  # each once

    def put(self, tree: Tree) -> None:
        """A slice that is new or has changed."""
        made = Slice(tree)
        self._slices.setdefault((made.driver, made.pool), {})[made.name] = made
        self._changed((made.driver, made.pool))

    def remove(self, tree: Tree) -> None:
        """A slice that is gone."""
        id = (str(tree["spec"]["driver"]), str(tree["spec"]["pool"]["name"]))
        self._slices.get(id, {}).pop(objects.name(tree), None)
        self._changed(id)

    def reach(self, name: str, labels: Mapping[str, str]) -> tuple[Reach, ...]:
        """The pools that a node sees, in the order in which they are tried."""
        known = self._reaches.get(name)
        if known is None or (known[0] is not labels and known[0] != labels):
            known = self._reaches[name] = (labels, self._reach(name, labels))
        return known[1]

    def _reach(self, name: str, labels: Mapping[str, str]) -> tuple[Reach, ...]:
        """The same tuple for nodes that see the same."""
        view: list[Any] = []
        found: list[tuple[Pool, list[tuple[Device, ...]]]] = []
        for each in sorted({*self._of_node.get(name, ()), *self._wide}):
            pool = self._pool(each)
            slices = [part for part in pool.slices if part.is_each or part.place.reaches(name, labels)]
            parts = [part.reached(name, labels) for part in slices]
            if any(parts) or any(not part.is_each for part in slices):
                found.append((pool, parts))
                view.append(pool.serial)
                view += [tuple(d.name for d in p) if s.is_each else s.name for s, p in zip(slices, parts, strict=True)]
        known = self._views.get(tuple(view))
        if known is None:
            if len(self._views) > 2 * len(self._reaches) + MAX_VIEWS:
                self._views.clear()
            found.sort(key=lambda each: each[0].is_usable and each[0].waits)
            known = tuple(Reach(pool, tuple(d for part in parts for d in part)) for pool, parts in found)
            self._views[tuple(view)] = known
        return known

    def _pool(self, id: PoolId) -> Pool:
        pool = self._pools.get(id)
        if pool is None:
            pool = self._pools[id] = Pool(id, list(self._slices[id].values()))
        return pool

    def _changed(self, id: PoolId) -> None:
        """The pool is to be looked at again, by the nodes that see it."""
        slices = self._slices.get(id) or {}
        self._pools.pop(id, None)
        was_wide = id in self._wide
        if any(not each.place.node for each in slices.values()):
            self._wide[id] = None
        else:
            self._wide.pop(id, None)
        before, nodes = self._nodes.get(id, set()), {each.place.node for each in slices.values() if each.place.node}
        for name in before - nodes:
            self._of_node[name].discard(id)
        for name in nodes - before:
            self._of_node.setdefault(name, set()).add(id)
        self._nodes[id] = nodes
        if not slices:
            self._slices.pop(id, None)
            del self._nodes[id]
        if was_wide or id in self._wide:
            self._reaches.clear()
            self._views.clear()
        for name in before | nodes:
            self._reaches.pop(name, None)


def _place(tree: Tree) -> Place:
    selector = tree.get("nodeSelector")
    terms = node_match.terms(selector) if selector is not None else ()
    return Place(str(tree.get("nodeName") or ""), selector, terms, bool(tree.get("allNodes")))


def _counters(sets: Iterable[Tree], field: str) -> Counters:
    return {
        (str(each[field]), str(name)): quantity.parse(counter.get("value") or "0").nanos
        for each in sets
        for name, counter in (each.get("counters") or {}).items()
    }


def _full(name: str, driver: str) -> str:
    return name if "/" in name else f"{driver}/{name}"
