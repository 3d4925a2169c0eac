"""Host ports: the node's ports that lead to pods, as elements of nft maps, and a record of them that outlives the agent.

One map leads from protocol and number, another from address, protocol and number, to a pod's address and port; so
their count costs a packet nothing. Who asks for any address gets the node's own and loopback, or whatever the node's
ports are served at. A pod that gets to itself that way has the gateway as its client, or it would answer itself
directly; and so has a client on loopback.
"""

import ipaddress
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sampan.node.network.pod_request import HostPort
from sampan.node.network.services.flows import Place, Stale
from sampan.node.network.settings import NetworkSettings

CHAIN = "host-ports"
_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_FAMILY = {4: "ip", 6: "ip6"}

Elements = dict[str, list[str]]
"""By the map's or set's name."""


class HostPorts:
    """Which pod has which ports. `path` is the record; it is there only while a pod has any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, tuple[str, tuple[HostPort, ...]]] = {}
        self._load()

    def items(self) -> dict[str, tuple[str, tuple[HostPort, ...]]]:
        """IPv4 address and ports, by pod uid."""
        return dict(self._held)

    def get(self, pod_uid: str) -> tuple[str, tuple[HostPort, ...]] | None:
        return self._held.get(pod_uid)

    def keep(self, pod_uid: str, address: str, ports: tuple[HostPort, ...]) -> None:
        """Notes what the pod has."""
        self._held[pod_uid] = (address, ports)
        self._save()

    def drop(self, pod_uid: str) -> None:
        """Forgets it."""
        if self._held.pop(pod_uid, None) is not None:
            self._save()

    def clear(self) -> None:
        """Forgets all."""
        self._held.clear()
        self._save()

    def _load(self) -> None:
        try:
            record = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        for uid, (address, ports) in record.items():
            self._held[uid] = (address, tuple(HostPort(*port) for port in ports))

    def _save(self) -> None:
        if not self._held:
            self._path.unlink(missing_ok=True)
            return
        found = {
            uid: [address, [[p.protocol, p.number, p.pod_port, p.address] for p in ports]]
            for uid, (address, ports) in self._held.items()
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        os.replace(fresh, self._path)


def elements(settings: NetworkSettings, address: str, ports: Iterable[HostPort]) -> Elements:
    """What the pod with this IPv4 address puts into each map and set."""
    found: Elements = {}
    for pod_ip in filter(None, (address, settings.address6(address))):
        version = ipaddress.ip_address(pod_ip).version
        for port in ports:
            asked = ipaddress.ip_address(port.address) if port.address else None
            if asked is not None and asked.version != version:
                continue
            is_anywhere = asked is None or asked.is_unspecified
            name = f"host-ports{version}" if is_anywhere else f"host-ports-at{version}"
            key = f"{port.protocol} . {port.number}" if is_anywhere else f"{asked} . {port.protocol} . {port.number}"
            found.setdefault(name, []).append(f"{key} : {pod_ip} . {port.pod_port}")
            found[f"hairpins{version}"] = [f"{pod_ip} . {pod_ip}"]
    return found


def declarations(settings: NetworkSettings) -> str:
    """Maps and sets, and the chains that use them: the part of the node's table that is about host ports."""
    versions = (4, 6) if settings.pod_cidr6 else (4,)
    maps = "".join(_maps(version) for version in versions)
    rules = "".join(_rules(settings, version) for version in versions)
    return f"""{maps}  chain {CHAIN} {{
{rules}  }}
  chain {CHAIN}-in {{
    type nat hook prerouting priority dstnat - 1; policy accept;
    fib daddr type local jump {CHAIN}
  }}
  chain {CHAIN}-local {{
    type nat hook output priority -101; policy accept;
    fib daddr type local jump {CHAIN}
  }}
  chain {CHAIN}-out {{
    type nat hook postrouting priority srcnat - 1; policy accept;
{_masquerades(settings)}  }}
"""


def addition(settings: NetworkSettings, found: Mapping[str, Iterable[str]]) -> str:
    """Commands that put the elements in."""
    return _commands("add", settings, {name: list(items) for name, items in found.items()})


def removal(settings: NetworkSettings, found: Mapping[str, Iterable[str]]) -> str:
    """Commands that take the elements out."""
    keys = {name: [item.partition(" : ")[0] for item in items] for name, items in found.items()}
    return _commands("delete", settings, keys)


def stale(settings: NetworkSettings, address: str, ports: Iterable[HostPort], *, are_open: bool) -> Stale | None:
    """Which datagrams' connections are to be forgotten: those that lead elsewhere, or to this pod when it has closed them."""
    own = (*settings.own_addresses, "127.0.0.1")
    found: dict[Place, frozenset[Place]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        for here in (port.address,) if port.address else own:
            pod_ip = settings.address6(address) if ":" in here else address
            found[here, port.number] = frozenset({(pod_ip, port.pod_port)} if are_open else ())
    return Stale(frozenset(own), found) if found else None


def _maps(version: int) -> str:
    type = _ADDRESS[version]
    return f"""  map host-ports{version} {{
    type inet_proto . inet_service : {type} . inet_service
  }}
  map host-ports-at{version} {{
    type {type} . inet_proto . inet_service : {type} . inet_service
  }}
  set hairpins{version} {{
    type {type} . {type}
  }}
"""


def _masquerades(settings: NetworkSettings) -> str:
    """As whom packets come to pods: to the pod that they are from, or from loopback, as the gateway's."""
    cables = f'oifname "{settings.cable_prefix}*" ct status dnat'
    lines = [
        f"{cables} ip saddr 127.0.0.0/8 snat ip to {settings.gateway}",
        f"{cables} ip saddr . ip daddr @hairpins4 snat ip to {settings.gateway}",
    ]
    if settings.gateway6:
        lines.append(f"{cables} ip6 saddr . ip6 daddr @hairpins6 snat ip6 to {settings.gateway6}")
    return "".join(f"    {line}\n" for line in lines)


def _rules(settings: NetworkSettings, version: int) -> str:
    family = _FAMILY[version]
    at, where = f"{family} daddr . meta l4proto . th dport", _served_at(settings, version)
    lines = [f"meta l4proto {{ tcp, udp, sctp }} dnat {family} to {at} map @host-ports-at{version}"]
    if where:
        lines.append(
            f"{family} daddr {{ {', '.join(where)} }} meta l4proto {{ tcp, udp, sctp }} "
            f"dnat {family} to meta l4proto . th dport map @host-ports{version}"
        )
    return "".join(f"    {line}\n" for line in lines)


def _served_at(settings: NetworkSettings, version: int) -> list[str]:
    """The node's addresses at which ports for any address are served."""
    own = (*settings.own_addresses, "127.0.0.0/8", *settings.node_port_addresses)
    networks = (ipaddress.ip_network(text, strict=False) for text in own)
    return [str(n) for n in ipaddress.collapse_addresses(_of_version(networks, version))]


def _of_version(
    networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network], version: int
) -> list[ipaddress.IPv4Network]:
    """Of either version, all of one; the type says IPv4 since `collapse_addresses` wants them alike."""
    found: list[ipaddress.IPv4Network] = [n for n in networks if n.version == version]  # type: ignore[misc]
    return found


def _commands(verb: str, settings: NetworkSettings, found: Mapping[str, list[str]]) -> str:
    return "".join(
        f"{verb} element inet {settings.table} {name} {{ {', '.join(items)} }}\n" for name, items in found.items()
    )
