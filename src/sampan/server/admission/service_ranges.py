"""Where a Service's addresses and node ports come from: the ready ServiceCIDRs, and 30000 to 32767.

What is given out by itself comes from the upper part of a range first, so that the lower part stays
for those who ask for one of their own.

https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/
"""

import ipaddress
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.kinds.networking import service_cidr
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.networking.service_cidr import SERVICECIDR
from sampan.kinds.parts import service_shape
from sampan.meta import conditions, objects, status
from sampan.server.admission.chain import Lookup
from sampan.server.cache import Item

FIRST_PORT, LAST_PORT = 30000, 32767
_ALLOCATED = "provided IP is already allocated"
_OUTSIDE = "the provided network does not match the current range"
_PORT_ALLOCATED = "provided port is already allocated"
_PORT_OUTSIDE = f"provided port is not in the valid range. The range of valid ports is {FIRST_PORT}-{LAST_PORT}"

FAMILIES = {4: "IPv4", 6: "IPv6"}

Tree = dict[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses of one family of a ServiceCIDR. `item` is None for a configured range, before any ServiceCIDR is there."""

    network: Network
    item: Item | None = None

    def candidates(self, seed: int) -> Iterator[str]:
        """Every address that a service may have, the upper part first, from a place that the seed gives."""
        first, last = 1, self._last
        size = last - first + 1
        if size <= 0:
            return
        kept = _kept(size, 16, 16, 256)
        for number in _spread(first + kept, last, seed):
            yield str(self.network[number])
        for number in _spread(first, first + kept - 1, seed):
            yield str(self.network[number])

    @property
    def _last(self) -> int:
        """IPv6 has no broadcast address."""
        return self.network.num_addresses - (2 if self.network.version == 4 else 1)

    def gives(self, address: Address) -> bool:
        """Whether a service may have this address, which is in the range."""
        return 1 <= int(address) - int(self.network.network_address) <= self._last


class Addresses:
    """The cluster's service addresses. `configured` are a range, or one of each family, with a comma."""

    def __init__(self, configured: str) -> None:
        self._configured = [ipaddress.ip_network(text) for text in configured.split(",")]
        self.families = tuple(FAMILIES[network.version] for network in self._configured)
        """Those that services can have, the usual one first."""

    def ranges(self, lookup: Lookup) -> list[Range]:
        """The ranges that give out addresses now, the default one first."""
        items = lookup.all(SERVICECIDR)
        if not items:
            return [Range(network) for network in self._configured]
        found = []
        for item in sorted(items, key=lambda i: objects.name(i.tree) != service_cidr.DEFAULT_NAME):
            is_ready = not conditions.is_false(item.tree, "Ready") and not objects.is_deleting(item.tree)
            listed = service_cidr.cidrs(item.tree) if is_ready else ()
            found += [Range(ipaddress.ip_network(text), item) for text in listed]
        return found

    def free(self, service: Tree, family: str, lookup: Lookup) -> tuple[str, Range]:
        """An address for a service that asks for none. Raises ApiError 500 when there is none left."""
        seed = zlib.crc32(objects.uid(service).encode())
        for given in self.ranges(lookup):
            if FAMILIES[given.network.version] != family:
                continue
            for address in given.candidates(seed):
                if lookup.get(IPADDRESS, "", address) is None:
                    return address, given
        raise status.internal("failed to allocate a serviceIP: range is full")

    def asked(self, service: Tree, address: str, lookup: Lookup) -> tuple[str, Range]:
        """The range of an address that a service asks for. Raises ApiError 422."""
        parsed = ipaddress.ip_address(address)
        holding = [given for given in self.ranges(lookup) if parsed in given.network]
        why = ""
        if not holding:
            why = _OUTSIDE
        elif not any(given.gives(parsed) for given in holding):
            network = holding[0].network
            why = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
        elif lookup.get(IPADDRESS, "", address) is not None:
            why = _ALLOCATED
        if why:
            text = f"failed to allocate IP {address}: {why}"
            cause = status.invalid_value("spec.clusterIPs", service["spec"].get("clusterIPs"), text)
            raise status.invalid("", SERVICE.name, objects.name(service), [cause])
        return str(parsed), holding[0]


@dataclass(slots=True)
class Ports:
    """The node ports of one write: those in use by others, and those that it takes."""

    service: Tree
    in_use: Callable[[], set[int]]
    had: frozenset[int] = frozenset()
    taken: set[int] = field(default_factory=set)
    _used: set[int] | None = None
    _candidates: Iterator[int] | None = None

    def assign(self, *, is_new: bool) -> None:
        """Gives every port that needs one its node port, and the service its health check port. Raises ApiError."""
        spec = self.service["spec"]
        if service_shape.needs_node_ports(spec):
            ports = spec.get("ports") or []
            (_assign_new if is_new else _assign_changed)(self, ports, gives=service_shape.allocates_node_ports(spec))
        if service_shape.needs_health_check(spec):
            self._assign_health_check(spec)

    def ask(self, number: int, path: str) -> None:
        """Takes a port that was asked for. Raises ApiError 422."""
        why = self._refusal(number)
        if why:
            cause = status.invalid_value(path, number, why)
            raise status.invalid("", SERVICE.name, objects.name(self.service), [cause])
        self.taken.add(number)

    def any(self, what: str) -> int:
        """Takes a free port. Raises ApiError 500 when there is none left."""
        if self._candidates is None:
            seed = zlib.crc32(objects.uid(self.service).encode())
            kept = _kept(LAST_PORT - FIRST_PORT + 1, 32, 16, 128)
            upper = _spread(FIRST_PORT + kept, LAST_PORT, seed)
            self._candidates = chain(upper, _spread(FIRST_PORT, FIRST_PORT + kept - 1, seed))
        for number in self._candidates:  # what was passed over stays in use
            if not self._refusal(number):
                self.taken.add(number)
                return number
        raise status.internal(f"failed to allocate a {what}: range is full")

    def _assign_health_check(self, spec: Tree) -> None:
        number = spec.get("healthCheckNodePort") or 0
        if not number:
            spec["healthCheckNodePort"] = self.any("HealthCheck NodePort 0")
        elif number not in self.had:
            why = self._refusal(number)
            if why:
                raise status.internal(f"failed to allocate requested HealthCheck NodePort {number}: {why}")
            self.taken.add(number)

    def _refusal(self, number: int) -> str:
        if not FIRST_PORT <= number <= LAST_PORT:
            return _PORT_OUTSIDE
        if self._used is None:
            self._used = self.in_use()
        return _PORT_ALLOCATED if number in self._used or number in self.taken or number in self.had else ""


def _assign_new(given: Ports, ports: list[Tree], *, gives: bool) -> None:
    """One number serves all protocols of a port."""
    chosen: dict[Any, int] = {}
    asked_first: dict[Any, int] = {}
    for port in ports:
        if port.get("nodePort"):
            asked_first.setdefault(port.get("port"), port["nodePort"])
    for index, port in enumerate(ports):
        asked, number = port.get("nodePort") or 0, port.get("port")
        path = f"spec.ports[{index}].nodePort"
        if not asked and not gives:
            continue
        if number not in chosen:
            wished = asked_first.get(number, 0)
            if wished:
                given.ask(wished, path)
            chosen[number] = port["nodePort"] = wished or given.any("nodePort")
        elif not asked:
            port["nodePort"] = chosen[number]
        elif asked != chosen[number]:
            given.ask(asked, path)


def _assign_changed(given: Ports, ports: list[Tree], *, gives: bool) -> None:
    """Those that it had stay its own."""
    for index, port in enumerate(ports):
        asked = port.get("nodePort") or 0
        if asked and asked not in given.had and asked not in given.taken:
            given.ask(asked, f"spec.ports[{index}].nodePort")
        elif not asked and gives:
            port["nodePort"] = given.any("nodePort")


def _kept(size: int, step: int, least: int, most: int) -> int:
    """How much of a range is left to those who ask."""
    return 0 if size < least else min(max(least, size // step), most, size)


def _spread(low: int, high: int, seed: int) -> Iterator[int]:
    """Each number from low to high once, starting somewhere."""
    size = high - low + 1
    for step in range(max(size, 0)):
        yield low + (seed + step) % size
