"""A Service gets its address and its node ports in its own transaction.

Each address in use is an IPAddress object, each node port a key, and both are written together with the
Service, so that two services can never get the same one, whatever is killed in between. The range an
address came from must not have changed meanwhile either. What a Service gives up goes the same way.

https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind
from sampan.kinds.networking import ip_address
from sampan.kinds.networking.ip_address import IPADDRESS
from sampan.kinds.networking.service_cidr import SERVICECIDR
from sampan.kinds.parts import service_families, service_shape
from sampan.kit.ids import Ids
from sampan.meta import objects, status, timestamps
from sampan.meta.apply import managed
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup
from sampan.server.admission.service_ranges import Addresses, Ports, Range
from sampan.server.cache import encode, prefix
from sampan.store.protocol import Compare, Delete, Put

PORTS = "/ranges/nodeports/"
MANAGER = "sampan-apiserver"

Tree = dict[str, Any]


class ServiceAddresses:
    """The allocator. It comes after everything that may still change a Service."""

    CONCERNS = Concern(operations=(CREATE, UPDATE), kinds=(SERVICE,))

    def __init__(self, service_cidr: str, ids: Ids, now: Callable[[], float]) -> None:
        self._addresses = Addresses(service_cidr)
        self._ids = ids
        self._now = now

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 422 for what is taken or outside the ranges, 500 when a range is full."""
        old = attributes.old
        if attributes.subresource or attributes.obj is None:
            return
        service = attributes.born()
        spec, before = service["spec"], old.get("spec") or {} if old is not None else None
        service_families.keep_allocated(spec, before)
        causes = service_families.initialize(spec, before, self._addresses.families)
        if causes:
            raise status.invalid("", SERVICE.name, objects.name(service), causes)
        self._move_addresses(attributes, service, before, lookup)
        _move_ports(attributes, service, before or {}, lookup)

    async def release(self, attributes: Attributes, lookup: Lookup) -> None:
        """A Service that goes for good gives everything back, also what this very write took."""
        if not _is_about_services(attributes):
            return
        old = (attributes.old or {}).get("spec") or {}
        attributes.writes[:] = [w for w in attributes.writes if not _is_ours(w.key)]
        attributes.writes += [Delete(_key(IPADDRESS, address)) for address in service_shape.cluster_ips(old)]
        attributes.writes += [Delete(f"{PORTS}{number}") for number in service_shape.node_ports(old)]

    def _move_addresses(self, attributes: Attributes, service: Tree, before: Tree | None, lookup: Lookup) -> None:
        spec = service["spec"]
        held = service_shape.cluster_ips(before or {"type": service_shape.EXTERNAL_NAME})
        if not service_shape.needs_cluster_ip(spec):
            attributes.writes += [Delete(_key(IPADDRESS, address)) for address in held]
            return
        had_none = before is None or not service_shape.needs_cluster_ip(before)
        if service_shape.is_headless(spec) or not (had_none or held):
            return
        families = spec.get("ipFamilies") or ()
        attributes.writes += [Delete(_key(IPADDRESS, address)) for address in held[len(families) or 1 :]]
        self._complete(attributes, service, len(held), lookup)

    def _complete(self, attributes: Attributes, service: Tree, held: int, lookup: Lookup) -> None:
        """One address for each of the service's families, of which it `held` so many before."""
        spec = service["spec"]
        found = list(spec.get("clusterIPs") or ())
        for number, family in enumerate(spec.get("ipFamilies") or ()):
            if number < held:
                continue
            asked = found[number] if number < len(found) else ""
            address, given = (
                self._addresses.asked(service, asked, lookup)
                if asked
                else self._addresses.free(service, family, lookup)
            )
            found[number:] = [address, *found[number + 1 :]]
            self._take(attributes, service, address, given)
        if found:
            spec["clusterIP"], spec["clusterIPs"] = found[0], found

    def _take(self, attributes: Attributes, service: Tree, address: str, given: Range) -> None:
        key = _key(IPADDRESS, address)
        attributes.compares.append(Compare(key, 0))
        if given.item is not None:
            attributes.compares.append(Compare(prefix(SERVICECIDR) + given.item.key, given.item.revision))
        attributes.writes.append(Put(key, encode(self._object(service, address))))

    def _object(self, service: Tree, address: str) -> Tree:
        """The IPAddress of a service, complete."""
        now = self._now()
        made = ip_address.of_service(address, objects.namespace(service), objects.name(service))
        made["metadata"] |= {"uid": self._ids.uid(), "creationTimestamp": timestamps.format(now)}
        write = managed.Write(MANAGER, "Update", IPADDRESS.api_version, "", now)
        made["metadata"]["managedFields"] = managed.track(made, None, write, IPADDRESS.type)
        return made


def _move_ports(attributes: Attributes, service: Tree, before: Tree, lookup: Lookup) -> None:
    """Takes the node ports that the service needs, and gives back those that it no longer does."""
    spec, had = service["spec"], service_shape.node_ports(before)
    if service_shape.needs_node_ports(spec):
        ports = Ports(service, partial(_in_use, attributes, lookup), frozenset(had))
        ports.assign(is_new=attributes.old is None)
        owner = f"{objects.namespace(service)}/{objects.name(service)}".encode()
        for number in sorted(ports.taken):
            attributes.compares.append(Compare(f"{PORTS}{number}", 0))
            attributes.writes.append(Put(f"{PORTS}{number}", owner))
    kept = set(service_shape.node_ports(spec)) if service_shape.needs_node_ports(spec) else set()
    if not service_shape.needs_health_check(spec):
        kept -= {spec.get("healthCheckNodePort")}
    attributes.writes += [Delete(f"{PORTS}{number}") for number in sorted(set(had) - kept)]


def _in_use(attributes: Attributes, lookup: Lookup) -> set[int]:
    """Node ports of all other services."""
    own = attributes.namespace, attributes.name
    return {
        number
        for item in lookup.all(SERVICE)
        if objects.key(item.tree) != own
        for number in service_shape.node_ports(item.tree.get("spec") or {})
    }


def _is_about_services(attributes: Attributes) -> bool:
    return attributes.kind.resource == SERVICE.resource and not attributes.subresource


def _key(kind: Kind, name: str) -> str:
    return prefix(kind) + name


def _is_ours(key: str) -> bool:
    return key.startswith((PORTS, prefix(IPADDRESS)))
