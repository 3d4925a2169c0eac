"""Wishes: what claims ask for, read for the search: requests with their alternatives, constraints, limits. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.kinds.parts import node_match
from sampan.meta import objects, quantity
from sampan.meta.quantity import Quantity
from sampan.scheduling.devices.pools import Device

MAX_DEVICES = 32
MAX_ALTERNATIVES = 8
_BINDING = ("NoSchedule", "NoExecute")

Tree = Mapping[str, Any]
FindClass = Callable[[str], Tree | None]


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """A request, or one of its alternatives. `name` is as allocations have it; `index` is its number in the problem.

    `selectors` are those of the class, then its own, each with what to say before a complaint about it.
    """

    index: int
    name: str
    request: str
    label: str
    device_class: Tree
    selectors: tuple[tuple[str, str], ...]
    is_all: bool
    count: int
    is_admin: bool
    tolerations: tuple[Tree, ...]
    capacity: Mapping[str, Quantity]

    def puts_up_with(self, device: Device) -> bool:
        """Whether no taint of the device keeps it away."""
        return all(
            taint.get("effect") not in _BINDING or node_match.tolerated(self.tolerations, taint)
            for taint in device.taints
        )

    def requests(self, driver: str) -> Mapping[str, Quantity]:
        """Its capacities by full names, on a device of that driver."""
        return {name if "/" in name else f"{driver}/{name}": value for name, value in self.capacity.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """An attribute that is the same for all devices of some requests (of all: none is named), or another for each."""

    attribute: str
    is_distinct: bool
    requests: frozenset[str]

    def concerns(self, wish: Wish) -> bool:
        """Whether it is about devices for the wish."""
        return not self.requests or wish.name in self.requests or wish.request in self.requests

    def value(self, device: Device) -> Any:
        """What it sees in a device; None where there is nothing to compare."""
        found = device.attributes.get(self.attribute) or {}
        return next(((kind, found[kind]) for kind in ("string", "int", "bool", "version") if kind in found), None)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What one claim asks for: its requests, of each of which one alternative is fulfilled."""

    requests: tuple[tuple[Wish, ...], ...]
    constraints: tuple[Constraint, ...]
    config: Sequence[Tree]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The claims of a pod that have to be fulfilled together. Problems with the same key are the same."""

    key: bytes
    claims: tuple[Claim, ...]

    def wishes(self) -> Iterator[Wish]:
        """All of them."""
        return (wish for claim in self.claims for request in claim.requests for wish in request)


def classes(spec: Tree) -> Iterator[tuple[str, str]]:
    """The requests and alternatives of a claim's spec, and their classes."""
    for request in (spec.get("devices") or {}).get("requests") or ():
        for name, wish in _alternatives(request):
            yield name, str(wish.get("deviceClassName") or "")


def key(specs: Sequence[Tree], find: FindClass) -> bytes:
    """The same for what is the same to the search."""
    names = sorted({name for spec in specs for _, name in classes(spec)})
    seen = [(name, objects.uid(found), objects.resource_version(found)) for name in names if (found := find(name))]
    return orjson.dumps([[spec.get("devices") for spec in specs], seen], option=orjson.OPT_SORT_KEYS)


def problem(specs: Sequence[Tree], find: FindClass) -> Problem:
    """That of claims with these specs, whose classes are all there."""
    reader = _Reader(find)
    claims = tuple(reader.claim(at, spec.get("devices") or {}) for at, spec in enumerate(specs))
    return Problem(key(specs, find), claims)


class _Reader:
    """Gives numbers to wishes."""

    def __init__(self, find: FindClass) -> None:
        self._find = find
        self._next = 0

    def claim(self, at: int, devices: Tree) -> Claim:
        """The claim with this number."""
        requests = tuple(
            tuple(self._wish(at, str(request["name"]), name, wish) for name, wish in _alternatives(request))
            for request in devices.get("requests") or ()
        )
        constraints = tuple(_constraint(each) for each in devices.get("constraints") or ())
        return Claim(requests, constraints, devices.get("config") or ())

    def _wish(self, at: int, request: str, name: str, tree: Tree) -> Wish:
        label = f"claim {mark(at)}"
        found = self._find(str(tree["deviceClassName"])) or {}
        general = (found.get("spec") or {}).get("selectors") or ()
        own = tree.get("selectors") or ()
        selectors = [*_expressions(general, f"class {tree['deviceClassName']}"), *_expressions(own, label)]
        self._next += 1
        return Wish(
            index=self._next - 1,
            name=name,
            request=request,
            label=f"{label}, request {name.rpartition('/')[2]}",
            device_class=found,
            selectors=tuple(selectors),
            is_all=tree.get("allocationMode") == "All",
            count=int(tree.get("count") or 0),
            is_admin=bool(tree.get("adminAccess")),
            tolerations=tuple(tree.get("tolerations") or ()),
            capacity={n: quantity.parse(v) for n, v in ((tree.get("capacity") or {}).get("requests") or {}).items()},
        )


def mark(at: int) -> str:
    """What stands in texts for the name of the claim with this number."""
    return f"\0{at}\0"


def named(text: str, labels: Sequence[str]) -> str:
    """The text with the names of the claims."""
    for at, label in enumerate(labels):
        text = text.replace(mark(at), label)
    return text


def _alternatives(request: Tree) -> Iterator[tuple[str, Tree]]:
    """What fulfils a request, with the names that allocations give to it."""
    name = str(request["name"])
    if request.get("exactly") is not None:
        yield name, request["exactly"]
        return
    for each in request.get("firstAvailable") or ():
        yield f"{name}/{each['name']}", each


def _expressions(selectors: Sequence[Tree], whose: str) -> Iterator[tuple[str, str]]:
    for at, selector in enumerate(selectors):
        yield f"{whose}: selector #{at}: ", str((selector.get("cel") or {}).get("expression") or "")


def _constraint(tree: Tree) -> Constraint:
    distinct = tree.get("distinctAttribute")
    attribute = distinct if distinct is not None else tree.get("matchAttribute")
    return Constraint(str(attribute), distinct is not None, frozenset(tree.get("requests") or ()))
