"""The network between nodes of one host: each in a network namespace of its own, cabled to a bridge on the host.

The host leads pods' and services' addresses to the nodes, hides the nodes behind its own address from the world, and
lets nobody of the world in but to node ports, where the API is open to the world too. Whoever comes first makes the
bridge and its table, whoever leaves last takes them away; each step can be repeated, so that a kill harms nothing.

All of this blocks. `enter` moves the whole process: it must have one thread only.
"""

import contextlib
import fcntl
import ipaddress
import json
import logging
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.node.network import firewall, forwarding, namespaces, sysctls
from sampan.node.network.links import NEW_LINKS_WITHOUT_IPV6, mac_of, prepare_ipv6, remove_link
from sampan.node.network.netlink import Link, Netlink, Route, index_of

log = logging.getLogger(__name__)

UPLINK = "eth0"
PORTS = "ports"
_FORWARDING = "net.ipv4.ip_forward"
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Lan:
    """One node's place in it. `link` is the bridge, `number` the node's (from 0), `namespace` the file of its namespace.

    `pod_cidrs` are this node's, `cluster_cidrs` those of all pods, `entry_cidrs` addresses of services that lead to
    this node. Node ports that come to `listen`, an address of the host, are the `entry` node's, as are those of
    loopback. `network6` and `address6` are the lan's and the node's in IPv6, where pods have such addresses too; the
    host has the first one there. `table` names the nft table on the host; `owner` is how the node signs what it shares with others.
    """

    link: str
    number: int
    gateway: str
    address: str
    prefix_length: int
    pod_cidrs: tuple[str, ...]
    cluster_cidrs: tuple[str, ...]
    entry_cidrs: tuple[str, ...]
    entry: str
    listen: str
    table: str
    owner: str
    namespace: Path
    network6: str = ""
    address6: str = ""
    mtu: int = 1500
    run_dir: Path = Path("/run/sampan")

    @property
    def cable(self) -> str:
        """The host's end of the node's cable."""
        return f"{self.link}{self.number}"

    @property
    def gateway6(self) -> str:
        """The host's address in the lan in IPv6; "" where there is none."""
        return str(ipaddress.IPv6Network(self.network6)[1]) if self.network6 else ""

    @property
    def routes(self) -> list[tuple[str, str]]:
        """Networks that lead to this node, and over which address of it."""
        found = (
            (cidr, self.address6 if ":" in cidr else self.address) for cidr in (*self.pod_cidrs, *self.entry_cidrs)
        )
        return [(cidr, over) for cidr, over in found if over]


def read(fields: Mapping[str, Any]) -> Lan:
    """From the agent's configuration."""
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
    return Lan(**{**values, "namespace": Path(values["namespace"])})


def enter(lan: Lan) -> int:
    """The process is in the node's namespace, which is there and joined to the others. A descriptor of the host's."""
    host = namespaces.host_fd()
    lan.namespace.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(lan), Netlink() as netlink:
        _prepare_host(netlink, lan)
        if not namespaces.is_bound(lan.namespace):
            remove_link(netlink, lan.cable)  # of a namespace that is no more
            _make_namespace(lan)
        _plug_in(netlink, lan)
    os.close(namespaces.enter(str(lan.namespace)))
    _configure(lan)
    return host


def enter_for_teardown(lan: Lan) -> int:
    """The same where it is there; else an empty one, so that nothing of the host's is taken for the node's."""
    host = namespaces.host_fd()
    is_there = lan.namespace.exists() and namespaces.is_bound(lan.namespace)
    os.close(namespaces.enter(str(lan.namespace)) if is_there else namespaces.enter_new())
    return host


def leave(lan: Lan, host: int) -> None:
    """Back on the host, nothing is left there of the node; nor of the lan when it was the last. Can be repeated."""
    namespaces.move_to(host)
    if lan.namespace.parent.exists():
        with _alone(lan):
            _leave(lan)
        with contextlib.suppress(OSError):
            lan.namespace.parent.rmdir()
    else:
        _leave(lan)


def ports(lan: Lan, protocols_and_ports: frozenset[tuple[str, int]]) -> str:
    """The transaction after which the host leads these node ports, as ("tcp", 30000), to a node."""
    elements = ", ".join(f"{protocol} . {port}" for protocol, port in sorted(protocols_and_ports))
    added = f"add element inet {lan.table} {PORTS} {{ {elements} }}\n" if elements else ""
    return f"flush set inet {lan.table} {PORTS}\n{added}"


def table(lan: Lan) -> str:
    """The host's table as one transaction, which leaves alone what node ports are known."""
    link = lan.link
    chosen = f"meta l4proto . th dport @{PORTS} dnat ip to {lan.entry}"
    outer = _outer(lan.listen)
    chains = {
        "guard": (
            "filter hook prerouting priority raw",
            [f'iifname "{link}" ip daddr 127.0.0.0/8 drop']
            + [
                f'iifname != "{link}" iifname != "lo" {family} daddr {gateway} drop'
                for family, gateway in (("ip", lan.gateway), ("ip6", lan.gateway6))
                if gateway and (family == "ip6" or _is_private(lan))
            ],
        ),
        "prerouting": ("nat hook prerouting priority dstnat", [f"{outer} {chosen}"] if outer else []),
        "local": (
            "nat hook output priority -100",
            [f"ip daddr 127.0.0.1 {chosen}"] + [f"{outer} {chosen}"] * bool(outer),
        ),
        "postrouting": (
            "nat hook postrouting priority srcnat",
            [
                f'oifname "{link}" ip saddr 127.0.0.0/8 snat ip to {lan.gateway}',
                *(f'oifname != "{link}" {family} saddr {{ {own} }} masquerade' for family, own in _hidden(lan)),
            ],
        ),
        "forward": (
            "filter hook forward priority filter",
            [
                f'oifname "{link}" iifname "{link}" accept',
                f'oifname "{link}" ct state established,related accept',
                f'oifname "{link}" ct status dnat accept',
                f'oifname "{link}" drop comment "nodes are not reachable from other networks"',
            ],
        ),
    }
    made = "".join(f"  chain {name} {{\n    type {hook}; policy accept;\n  }}\n" for name, (hook, _) in chains.items())
    lines = [f"flush chain inet {lan.table} {name}" for name in chains]
    lines += [f"add rule inet {lan.table} {name} {rule}" for name, (_, rules) in chains.items() for rule in rules]
    head = f"table inet {lan.table} {{\n  set {PORTS} {{\n    type inet_proto . inet_service;\n  }}\n{made}}}\n"
    return head + "".join(f"{line}\n" for line in lines)


def _hidden(lan: Lan) -> Iterator[tuple[str, str]]:
    """Each family, and whose packets go out to the world under the host's own address."""
    nodes = (f"{lan.gateway}/{lan.prefix_length}", lan.network6)
    for family, version in (("ip", 4), ("ip6", 6)):
        own = [cidr for cidr in (*nodes, *lan.cluster_cidrs) if cidr and (":" in cidr) == (version == 6)]
        if own:
            yield family, ", ".join(own)


def _without_former(lan: Lan) -> str:
    """Takes away the table of one family that earlier versions made."""
    return f"table ip {lan.table}\ndelete table ip {lan.table}\n"


def _is_private(lan: Lan) -> bool:
    """Whether the host's address among the nodes is for them and the host alone, whatever ways others know."""
    return lan.listen not in (*_EVERYWHERE, lan.gateway)


def _outer(listen: str) -> str:
    """Which packets come to where the API is open to the world."""
    if listen in _EVERYWHERE:
        return "fib daddr type local ip daddr != 127.0.0.0/8"
    return "" if ":" in listen or listen.startswith("127.") else f"ip daddr {listen}"


def restore(lan: Lan, more: str) -> None:
    """Where the thread is, the host's table is there again with what `more` says, if somebody else has removed it. OSError."""
    with _alone(lan):
        if not any(item.get("table", {}).get("name") == lan.table for item in _query("list", "tables")):
            run(table(lan) + more)
            _open_foreign_chains(lan)


@contextlib.contextmanager
def _alone(lan: Lan) -> Iterator[None]:
    """While it is held, no other node of the cluster joins or leaves."""
    descriptor = os.open(lan.namespace.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prepare_host(netlink: Netlink, lan: Lan) -> None:
    sysctls.claim(lan.run_dir, _FORWARDING, "1", lan.owner)
    if index_of(lan.link) is None:
        netlink.add_link(Link(lan.link, "bridge", mac_of(lan.gateway), lan.mtu))
    run(_without_former(lan) + table(lan))
    _open_foreign_chains(lan)
    index = socket.if_nametoindex(lan.link)
    sysctls.write(f"net.ipv4.conf/{lan.link}/route_localnet", "1")  # for node ports at loopback; `guard` shuts it
    sysctls.write(f"net.ipv4.conf/{lan.link}/forwarding", "1")
    _prepare_ipv6(lan)
    netlink.set_up(index)
    netlink.set_address(index, lan.gateway, lan.prefix_length)
    if lan.network6:
        netlink.set_address(index, lan.gateway6, ipaddress.IPv6Network(lan.network6).prefixlen)
    for cidr, over in lan.routes:
        netlink.set_route(Route(cidr, index, gateway=over))


def _prepare_ipv6(lan: Lan) -> None:
    """The host passes it on between the nodes, where pods have it."""
    prepare_ipv6(lan.link, is_used=bool(lan.network6), asks_neighbours=True)
    if lan.network6:
        forwarding.claim_ipv6(lan.run_dir, lan.owner)


def _make_namespace(lan: Lan) -> None:
    """In a thread, which moves into it and ends."""

    def make() -> int:
        made = namespaces.enter_new()
        try:
            namespaces.bind(made, lan.namespace)
        finally:
            os.close(made)
        return 0

    with ThreadPoolExecutor(1) as errand:
        errand.submit(make).result()


def _plug_in(netlink: Netlink, lan: Lan) -> None:
    """The cable leads from the namespace to the bridge."""
    if index_of(lan.cable) is None:
        inside = os.open(lan.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            peer = Link(UPLINK, "veth", mac_of(lan.address), lan.mtu, inside)
            netlink.add_link(Link(lan.cable, "veth", _cable_mac(lan), lan.mtu), peer)
        finally:
            os.close(inside)
    index = socket.if_nametoindex(lan.cable)
    prepare_ipv6(lan.cable, is_used=False)  # a port of a bridge has no address
    netlink.set_master(index, socket.if_nametoindex(lan.link))
    netlink.set_up(index)


def _configure(lan: Lan) -> None:
    """The namespace that the process is in has loopback, the cable's other end and a way out."""
    for scope in ("all", "default", UPLINK):
        sysctls.write(f"net.ipv4.conf/{scope}/send_redirects", "0")
        sysctls.write(f"net.ipv4.conf/{scope}/accept_redirects", "0")
    with contextlib.suppress(FileNotFoundError):  # so pods' cables need not be told one by one
        sysctls.ensure(NEW_LINKS_WITHOUT_IPV6, "0" if lan.network6 else "1")
    prepare_ipv6(UPLINK, is_used=bool(lan.network6), asks_neighbours=True)
    index = socket.if_nametoindex(UPLINK)
    with Netlink() as netlink:
        netlink.set_up(1)
        netlink.set_up(index)
        netlink.set_address(index, lan.address, lan.prefix_length)
        netlink.set_route(Route("0.0.0.0/0", index, gateway=lan.gateway))
        if lan.network6:
            netlink.set_address(index, lan.address6, ipaddress.IPv6Network(lan.network6).prefixlen)
            netlink.set_route(Route("::/0", index, gateway=lan.gateway6))


def _leave(lan: Lan) -> None:
    with Netlink() as netlink:
        bridge = index_of(lan.link)
        if bridge is not None:
            for cidr, over in lan.routes:
                with contextlib.suppress(OSError):  # it isn't there
                    netlink.delete_route(Route(cidr, bridge, gateway=over))
        remove_link(netlink, lan.cable)
        namespaces.remove(lan.namespace)
        if not any(_is_cable(lan, name) for _, name in socket.if_nameindex()):
            remove_link(netlink, lan.link)
            if closings := _closings(lan, _foreign_chains(lan)):
                run(closings)
            run(f"table inet {lan.table}\ndelete table inet {lan.table}\n{_without_former(lan)}")
    keep = bool(forwarding.needed_by(lan.link))
    for name in (_FORWARDING, *sysctls.claimed(lan.run_dir, "net.ipv6.conf/")):
        sysctls.release(lan.run_dir, name, lan.owner, keep=keep)


def _is_cable(lan: Lan, name: str) -> bool:
    return name.startswith(lan.link) and name[len(lan.link) :].isdigit()


def _cable_mac(lan: Lan) -> str:
    """Not the lowest of the bridge's ports: a bridge may take on such a one."""
    return mac_of(lan.address).replace("0a:58", "0e:58", 1)


def _foreign_chains(lan: Lan) -> list[dict[str, Any]]:
    """What nft lists of the chains of others where nodes' packets may be stopped."""
    chains = firewall.base_chains(_query("list", "chains"), (lan.table,))
    return [item for chain in chains for item in _query("list", "chain", *chain)]


def _open_foreign_chains(lan: Lan) -> None:
    """Let the nodes past a host firewall, as far as it allows that."""
    foreign = _foreign_chains(lan)
    if closings := _closings(lan, foreign):
        run(closings)
    for chain in firewall.dropping_chains(foreign):
        try:
            run(_openings(lan, chain))
        except OSError as error:
            nodes = str(ipaddress.ip_network(f"{lan.gateway}/{lan.prefix_length}", strict=False))
            log.warning("%s", firewall.refusal(chain, (*lan.cluster_cidrs, nodes), str(error)))


def _openings(lan: Lan, chain: firewall.Chain) -> str:
    """Commands that let the nodes through a chain."""
    rules = (f'{way} "{lan.link}" accept comment "{lan.table}"' for way in ("iifname", "oifname"))
    return "".join(f"insert rule {' '.join(chain)} {text}\n" for text in rules)


def _closings(lan: Lan, listing: list[dict[str, Any]]) -> str:
    """Commands that take these rules out again."""
    rules = (item["rule"] for item in listing if "rule" in item)
    ours = (rule for rule in rules if rule.get("comment") == lan.table)
    return "".join(f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}\n" for r in ours)


def run(text: str) -> None:
    """Carries out one transaction where the thread is. OSError when it is refused."""
    done = subprocess.run(("nft", "-f", "-"), input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"nft: {done.stderr.strip()[:2000]}")


def _query(*command: str) -> list[dict[str, Any]]:
    done = subprocess.run(("nft", "-j", "-a", *command), capture_output=True, check=False)
    items: list[dict[str, Any]] = json.loads(done.stdout or b'{"nftables": []}')["nftables"]
    return items
