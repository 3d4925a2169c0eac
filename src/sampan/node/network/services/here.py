"""Here: what of this node decides where a service's packets go (pure)."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sampan.node.network.settings import NetworkSettings

ZONE = "topology.kubernetes.io/zone"
DNS_PORT = 53

Ranges = dict[int, tuple[tuple[int, int], ...]]
"""Networks by family: mask and first address of each, as numbers."""


@dataclass(frozen=True)
class Here:
    """This node. `reserved` are TCP ports at its own addresses that no service may claim: the cluster's own."""

    settings: NetworkSettings
    zone: str = ""
    reserved: frozenset[int] = frozenset()

    @property
    def node(self) -> str:
        """Its name."""
        return self.settings.node

    @cached_property
    def own(self) -> frozenset[str]:
        """Its own addresses."""
        return frozenset((*self.settings.own_addresses, "127.0.0.1"))

    @cached_property
    def names(self) -> dict[str, str]:
        """The cluster's name service, by its addresses: each node answers its own pods."""
        gateways = {4: self.settings.gateway, 6: self.settings.gateway6}
        found = [address for address in self.settings.dns_ip.split(",") if address]
        return {a: gateway for a in found if (gateway := gateways[family_of(a)])}

    def is_endpoint(self, address: str) -> bool:
        """Whether a packet may be sent on to this address: not back into the machine, and to one receiver."""
        number = number_of(address)
        return number is not None and not _is_in(number, self._nobodys)

    def is_pod(self, address: str) -> bool:
        """Whether it is an address of a pod of this node."""
        number = number_of(address)
        return number is not None and _is_in(number, self._own_pods)

    def is_external(self, address: str, protocol: str, port: int) -> bool:
        """Whether a service may be reached at this address from outside: it is nobody else's."""
        number = number_of(address)
        if number is None or _is_in(number, self._nobodys):
            return False
        if canonical(address) in self.own:
            return not (port == DNS_PORT or (protocol == "tcp" and port in self.reserved))
        return not _is_in(number, self._pods)

    def zone_of(self, node: dict[str, Any]) -> str:
        """The zone that a Node says it is in."""
        return str((node["metadata"].get("labels") or {}).get(ZONE, ""))

    @cached_property
    def _nobodys(self) -> Ranges:
        return _ranges((*_SPECIAL, self.settings.service_cidr, self.settings.service_cidr6))

    @cached_property
    def _pods(self) -> Ranges:
        return _ranges((self.settings.cluster_pod_cidr, self.settings.cluster_pod_cidr6))

    @cached_property
    def _own_pods(self) -> Ranges:
        return _ranges((self.settings.pod_cidr, self.settings.pod_cidr6))


def number_of(address: str) -> tuple[int, int] | None:
    """Family and number of an address, None for what is none."""
    family = family_of(address)
    try:
        return family, int.from_bytes(socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address))
    except (OSError, ValueError):
        return None


def canonical(address: str) -> str:
    """An address as all write it."""
    if family_of(address) == 4:
        return address
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))


def family_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def _is_in(number: tuple[int, int], ranges: Ranges) -> bool:
    family, value = number
    for mask, first in ranges[family]:  # noqa: SIM110 (the quick way, for a hundred thousand addresses)
        if value & mask == first:
            return True
    return False


def _ranges(networks: Iterable[str]) -> Ranges:
    found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for text in networks:
        if text:
            network = ipaddress.ip_network(text)
            found[network.version].append((int(network.netmask), int(network.network_address)))
    return {family: tuple(ranges) for family, ranges in found.items()}


_SPECIAL = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
)
"""What means this machine, this link, many receivers or nobody."""
