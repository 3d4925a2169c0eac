"""Overlay: by which ways the pods of other nodes are reached, from the Node objects alone (pure).

"direct" is a route to each node's pods over its InternalIP: for nodes on one segment. "vxlan" wraps packets in
UDP, so that anything between the nodes will do: the route leads into the tunnel to the node's gateway, whose
hardware address follows from the node's InternalIP, and the tunnel's own table has the machine behind it. So no node
has to tell the others anything but what its object says anyway.

https://www.rfc-editor.org/rfc/rfc7348
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects
from sampan.node.network.settings import NetworkSettings

DIRECT, VXLAN = "direct", "vxlan"
MODES = (DIRECT, VXLAN)
VXLAN_PORT = 8472
VXLAN_BYTES, VXLAN_BYTES6 = 50, 70
"""What wrapping adds to a packet, over IPv4 and over IPv6."""
FIRST_VNI = 4242

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """To a network of pods, over an address; with vxlan that address has this hardware address, behind that machine."""

    to: str
    over: str
    mac: str = ""
    machine: str = ""


def wanted(nodes: Iterable[Object], settings: NetworkSettings) -> frozenset[Way]:
    """The ways to the pods of all nodes but this one."""
    return frozenset(way for node in nodes for way in ways(node, settings))


def ways(node: Object, settings: NetworkSettings) -> tuple[Way, ...]:
    """Those to one node's pods; none to our own, nor to a node that has no address or no networks yet."""
    machines = [address for address in _internal_addresses(node) if not _is_of_pods(address, settings)]
    if not machines or objects.name(node) == settings.node or settings.address in machines:
        return ()
    make = _tunnelled if settings.overlay == VXLAN else _direct
    return tuple(way for to in _networks(node, settings) if (way := make(to, machines, settings)) is not None)


def mac_of(machine: str) -> str:
    """The hardware address of a machine's end of the tunnel."""
    packed = ipaddress.ip_address(machine).packed
    tail = packed if len(packed) == 4 else hashlib.sha256(packed).digest()[:4]
    return "0a:59:" + tail.hex(":")


def mtu(uplink: int, machine: str) -> int:
    """How large a packet in the tunnel may be, where the uplink carries packets of this size."""
    return uplink - (VXLAN_BYTES6 if ":" in machine else VXLAN_BYTES)


def _direct(to: str, machines: list[str], settings: NetworkSettings) -> Way | None:
    """Over an address of the network's own family."""
    over = next((machine for machine in machines if (":" in machine) == (":" in to)), "")
    return Way(to, over) if over else None


def _tunnelled(to: str, machines: list[str], settings: NetworkSettings) -> Way | None:
    """To the node's gateway, in a tunnel between addresses of the family that our own end has."""
    machine = next((machine for machine in machines if (":" in machine) == (":" in settings.address)), "")
    over = str(ipaddress.ip_network(to)[1])
    return Way(to, over, mac_of(machine), machine) if machine else None


def _networks(node: Object, settings: NetworkSettings) -> list[str]:
    """The node's networks of pods as far as they are of the cluster's, so that no object leads other packets astray."""
    spec = node.get("spec") or {}
    ranges = [text for text in (settings.cluster_pod_cidr, settings.cluster_pod_cidr6) if text]
    found = []
    for text in spec.get("podCIDRs") or [spec.get("podCIDR") or ""]:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            continue
        is_own = text in (settings.pod_cidr, settings.pod_cidr6)
        if not is_own and any(is_inside(text, within) for within in ranges):
            found.append(str(network))
    return found


def _is_of_pods(address: str, settings: NetworkSettings) -> bool:
    """Whether it is among the pods' own, such as a gateway, which is only reached by the way that is looked for."""
    length = 128 if ":" in address else 32
    ranges = filter(None, (settings.cluster_pod_cidr, settings.cluster_pod_cidr6))
    return any(is_inside(f"{address}/{length}", within) for within in ranges)


def is_inside(network: str, within: str) -> bool:
    """Whether one network is a part of the other."""
    part, whole = ipaddress.ip_network(network), ipaddress.ip_network(within)
    if isinstance(part, ipaddress.IPv4Network) and isinstance(whole, ipaddress.IPv4Network):
        return part.subnet_of(whole)
    if isinstance(part, ipaddress.IPv6Network) and isinstance(whole, ipaddress.IPv6Network):
        return part.subnet_of(whole)
    return False


def _internal_addresses(node: Object) -> list[str]:
    found = []
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "InternalIP":
            try:
                found.append(str(ipaddress.ip_address(address.get("address", ""))))
            except ValueError:
                continue
    return found
