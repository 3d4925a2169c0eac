"""A Service gets its ClusterIP from the cluster's range; the address is taken in the same transaction.

Each address in use is a key of its own, so that two services can never get the same one, whatever
is killed in between. NodePorts and load balancers are refused by name until they are there.

https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/
"""

import ipaddress
import zlib
from typing import Any

from sampan.kinds.core.service import SERVICE
from sampan.meta import objects, status
from sampan.server.admission.chain import Attributes, Lookup
from sampan.store.protocol import Compare, Delete, Put

PREFIX = "/ranges/serviceips/"
RESERVED_ADDRESSES = 16

Tree = dict[str, Any]


class ServiceAddresses:
    """The allocator of one service range (such as 10.96.0.0/16)."""

    def __init__(self, service_cidr: str) -> None:
        self._network = ipaddress.IPv4Network(service_cidr)

    async def admit(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 422 for an address that is taken, outside the range, or of an unserved type."""
        if attributes.kind.resource != SERVICE.resource or attributes.subresource:
            return
        before = _address(attributes.old)
        service = attributes.obj
        if service is None:
            return
        _refuse_unserved(service)
        after = self._wanted(service, before, lookup)
        if after == before:
            return
        if before:
            attributes.writes.append(Delete(PREFIX + before))
        if after:
            attributes.compares.append(Compare(PREFIX + after, 0))
            owner = f"{objects.namespace(service)}/{objects.name(service)}"
            attributes.writes.append(Put(PREFIX + after, owner.encode()))

    async def release(self, attributes: Attributes, lookup: Lookup) -> None:
        """A deleted Service gives its address back."""
        if attributes.kind.resource == SERVICE.resource and (before := _address(attributes.old)):
            attributes.writes.append(Delete(PREFIX + before))

    def _wanted(self, service: Tree, before: str, lookup: Lookup) -> str:
        """The service's address, written into its spec; "" for headless and external names."""
        spec = service["spec"]
        if spec.get("type", "ClusterIP") == "ExternalName":
            for name in ("clusterIP", "clusterIPs"):
                spec.pop(name, None)
            return ""
        asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "") or before
        if asked == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return ""
        taken = {_address(item.tree) for item in lookup.all(SERVICE)} - {before}
        address = self._checked(service, asked, taken) if asked else self._free(service, taken)
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        return address

    def _checked(self, service: Tree, asked: str, taken: set[str]) -> str:
        detail = ""
        try:
            if ipaddress.ip_address(asked) not in self._network:
                detail = f"failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. "
                detail += f"The range of valid IPs is {self._network}"
        except ValueError:
            detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        if asked in taken:
            detail = f"failed to allocate IP {asked}: provided IP is already allocated"
        if detail:
            cause = status.invalid_value("spec.clusterIPs", [asked], detail)
            raise status.invalid("", SERVICE.name, objects.name(service), [cause])
        return asked

    def _free(self, service: Tree, taken: set[str]) -> str:
        """A free address, starting at a place that the service's uid gives."""
        size = self._network.num_addresses - RESERVED_ADDRESSES - 1
        start = zlib.crc32(objects.uid(service).encode()) % size
        for step in range(size):
            address = str(self._network[RESERVED_ADDRESSES + (start + step) % size])
            if address not in taken:
                return address
        raise status.internal(f"failed to allocate a serviceIP: range {self._network} is full")


def _address(service: Tree | None) -> str:
    address = str((service or {}).get("spec", {}).get("clusterIP") or "")
    return "" if address == "None" else address


def _refuse_unserved(service: Tree) -> None:
    kind = service["spec"].get("type", "ClusterIP")
    if kind in ("NodePort", "LoadBalancer"):
        why = f"services of type {kind} are not available yet in this version of Sampan"
        raise status.invalid("", SERVICE.name, objects.name(service), [status.forbidden_field("spec.type", why)])
