"""Endpoint slices: how endpoints are spread over slices, with as few changes as possible, since every node reads them.

Slices are trees; what is new has a generateName, what is changed keeps its name.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#distribution-of-endpointslices
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sampan.control.backends import Ports
from sampan.kinds.discovery.endpoint_slice import MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.meta import objects

Endpoints = dict[tuple[str, ...], Object]
"""Endpoints by what tells them apart."""


@dataclass(slots=True)
class Slices:
    """What becomes of slices. `changed` and `kept` are there already."""

    new: list[Object] = field(default_factory=list)
    changed: list[Object] = field(default_factory=list)
    kept: list[Object] = field(default_factory=list)
    gone: list[Object] = field(default_factory=list)

    def add(self, other: "Slices") -> None:
        """Both together."""
        self.new += other.new
        self.changed += other.changed
        self.kept += other.kept
        self.gone += other.gone

    def map(self, change: Callable[[Object], Object], is_due: Callable[[Object], bool]) -> None:
        """Changes the endpoints of slices that are written anyway, and of those kept that are due."""
        kept: list[Object] = []
        due: list[Object] = []
        for slice_ in self.kept:
            (due if any(map(is_due, slice_.get("endpoints") or ())) else kept).append(slice_)
        self.kept = kept
        self.new = [_mapped(s, change) for s in self.new]
        self.changed = [_mapped(s, change) for s in (*self.changed, *due)]

    def recycle(self, may_stay: Callable[[Object], bool] = lambda slice_: True) -> None:
        """What is to go takes the place of what is to be made, if it is of the same family and may stay."""
        for old in list(self.gone):
            if self.new and old.get("addressType") == self.new[-1]["addressType"] and may_stay(old):
                self.changed.append(put(old, self.new.pop()))
                self.gone.remove(old)


def _mapped(slice_: Object, change: Callable[[Object], Object]) -> Object:
    return {**slice_, "endpoints": [change(e) for e in slice_.get("endpoints") or ()]}


def put(old: Object, new: Object) -> Object:
    """The new content under the old name."""
    kept = {name: value for name, value in new["metadata"].items() if name != "generateName"}
    return {**old, **new, "metadata": {**old["metadata"], **kept}}


def identity(endpoint: Object) -> tuple[str, ...]:
    """What tells an endpoint from others."""
    target = endpoint.get("targetRef") or {}
    named = (endpoint.get("hostname") or "", target.get("namespace") or "", target.get("name") or "")
    return (*named, *sorted(endpoint.get("addresses") or ()))


def by_identity(endpoints: Iterable[Object]) -> Endpoints:
    """The first of each."""
    found: Endpoints = {}
    for endpoint in endpoints:
        found.setdefault(identity(endpoint), endpoint)
    return found


def is_same(first: Object, second: Object) -> bool:
    """Whether two endpoints say the same; hints are another matter."""
    return {k: v for k, v in first.items() if k != "hints"} == {k: v for k, v in second.items() if k != "hints"}


def ports_of(slice_: Object) -> Ports:
    """A slice's ports, in an order of their own."""
    return tuple(
        (p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP", p.get("appProtocol") or "")
        for p in slice_.get("ports") or ()
    )


def port_trees(ports: Ports) -> list[Object]:
    """Ports as a slice has them."""
    made: list[Object] = [{"name": name, "port": number, "protocol": protocol} for name, number, protocol, _ in ports]
    return [{**p, "appProtocol": port[3]} if port[3] else p for p, port in zip(made, ports, strict=True)]


def labels(owner: Object, manager: str) -> dict[str, str]:
    """Those of the owner, then the slice's own."""
    return {**objects.labels(owner), SERVICE_NAME_LABEL: objects.name(owner), MANAGED_BY_LABEL: manager}


def by_family_and_ports(slices: Sequence[Object]) -> dict[tuple[str, Ports], list[Object]]:
    """Slices by their address family and their ports, in a sorted order."""
    found: dict[tuple[str, Ports], list[Object]] = {}
    for slice_ in slices:
        found.setdefault((slice_.get("addressType", ""), tuple(sorted(ports_of(slice_)))), []).append(slice_)
    return found


def arranged(present: Sequence[Object], wanted: Endpoints, blank: Object, largest: int) -> Slices:
    """Spreads endpoints of the same ports over slices of at most so many; `blank` is a new slice without any.

    They stay where they are. New ones fill up slices that change anyway, the fullest first; the rest goes into one
    slice if it has room for all of them, else into new slices.
    """
    left = dict(wanted)
    found = Slices()
    for old in present:
        stay = [left.pop(identity(e)) for e in old.get("endpoints") or () if identity(e) in left]
        _sort_in(found, old, stay, blank["metadata"]["labels"])
    found.changed.sort(key=lambda s: -len(s["endpoints"]))
    new = list(left.values())
    for slice_ in found.changed:
        room = max(largest - len(slice_["endpoints"]), 0)
        slice_["endpoints"] += new[:room]
        new = new[room:]
    if new and (roomy := _roomy(found.kept, len(new), largest)) is not None:
        found.kept = [s for s in found.kept if s is not roomy]
        found.changed.append({**roomy, "endpoints": [*(roomy.get("endpoints") or ()), *new]})
        new = []
    found.new = [{**blank, "endpoints": new[start : start + largest]} for start in range(0, len(new), largest)]
    return found


def _sort_in(found: Slices, old: Object, stay: list[Object], labels: Mapping[str, str]) -> None:
    before = old.get("endpoints") or []
    is_changed = len(stay) != len(before) or not all(map(is_same, before, stay))
    if is_changed and not stay:
        found.gone.append(old)
    elif is_changed or objects.labels(old) != labels:
        endpoints = stay if is_changed else list(before)
        found.changed.append({**old, "endpoints": endpoints, "metadata": {**old["metadata"], "labels": dict(labels)}})
    else:
        found.kept.append(old)


def _roomy(slices: Sequence[Object], count: int, largest: int) -> Object | None:
    """The fullest slice that has room for so many more."""
    fitting = [s for s in slices if len(s.get("endpoints") or ()) + count <= largest]
    return max(fitting, key=lambda s: len(s.get("endpoints") or ()), default=None)
