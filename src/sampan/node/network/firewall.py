"""Firewall: the rules that let pods through: masquerade outwards, and past a host firewall that drops.

The node's table holds only what is about pods as such; services have a table of their own. A chain
elsewhere that drops by its policy (ufw's, or the one Docker sets) or rejects by its last rule (firewalld's) would
still stop what we accept, so there the pods' cables are let in by a marked rule of ours, which is taken out again.

https://wiki.nftables.org/wiki-nftables/index.php/Configuring_chains
"""

import ipaddress
from collections.abc import Collection, Iterable
from typing import Any

from sampan.node.network import host_ports
from sampan.node.network.settings import NetworkSettings

Chain = tuple[str, str, str]
"""Family, table and name."""


def table(settings: NetworkSettings, more: str = "") -> str:
    """The node's table as one transaction that replaces what was there, and then adds what `more` says.

    A pod's address that leads to the gateway's link and not to a cable is nobody's.
    """
    family, cables = f'"{settings.family}*"', f'"{settings.cable_prefix}*"'
    return f"""table inet {settings.table}
delete table inet {settings.table}
table inet {settings.table} {{
{host_ports.declarations(settings)}  chain sources {{
    type filter hook prerouting priority raw; policy accept;
    iifname {cables} ip daddr 127.0.0.0/8 drop comment "the host's loopback is not the pods'"
    iifname {cables} meta nfproto ipv6 fib saddr . iif oif 0 drop comment "another's address"
{_strangers(settings)}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{_masquerades(settings)}  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname {cables} ct state established,related accept
    oifname {cables} ct status dnat accept
{_neighbours(settings)}    oifname {cables} iifname != {family} drop comment "pods are not reachable from other networks"
{_nobodys(settings)}  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oifname {cables} icmp type redirect drop comment "pods talk through the host"
    ct status dnat accept comment "routed anew after this chain"
{_nobodys(settings)}  }}
}}
{more}"""


def _ranges(settings: NetworkSettings) -> list[tuple[str, str, str]]:
    """Family, the node's pods, the cluster's pods."""
    found = [("ip", settings.pod_cidr, settings.cluster_pod_cidr)]
    return [*found, ("ip6", settings.pod_cidr6, settings.cluster_pod_cidr6)] if settings.pod_cidr6 else found


def _strangers(settings: NetworkSettings) -> str:
    """Others than this host, its pods and its nodes don't reach the gateway, unless its ports are served to them."""
    links = [f"{settings.family}*", "lo", settings.uplink, settings.overlay_link if settings.overlay else ""]
    if not settings.has_plugins:
        way = " ".join(f'iifname != "{link}"' for link in links if link)
    elif settings.outside and settings.outside not in links:
        way = f'iifname "{settings.outside}"'
    else:
        return ""
    return "".join(
        f'    {family} daddr {gateway} {way} drop comment "the gateway is the pods\'"\n'
        for family, gateway in (("ip", settings.gateway), ("ip6", settings.gateway6))
        if gateway and not _is_served(settings, gateway)
    )


def _is_served(settings: NetworkSettings, gateway: str) -> bool:
    """Whether it is said that the node's ports are served at this address."""
    address = ipaddress.ip_address(gateway)
    return any(address in ipaddress.ip_network(cidr, strict=False) for cidr in settings.node_port_addresses)


def _masquerades(settings: NetworkSettings) -> str:
    own = f'oifname != "{settings.family}*"'
    return "".join(
        f"    {family} saddr {pods} {own} {family} daddr != {all_pods} masquerade\n"
        for family, pods, all_pods in _ranges(settings)
    )


def _neighbours(settings: NetworkSettings) -> str:
    """Pods of other nodes, and who else is said to be a neighbour, by the way that leads to them."""
    if not settings.uplink and not settings.overlay:
        return ""
    way = settings.overlay_link if settings.overlay == "vxlan" else settings.uplink
    sources = {family: [all_pods] for family, _, all_pods in _ranges(settings)}
    for cidr in settings.reachable_from:
        sources.setdefault("ip6" if ":" in cidr else "ip", []).append(cidr)
    return "".join(
        f'    oifname "{settings.cable_prefix}*" iifname "{way}" {family} saddr {{ {", ".join(found)} }} accept\n'
        for family, found in sources.items()
    )


def _nobodys(settings: NetworkSettings) -> str:
    words = {"ip": "icmp host-unreachable", "ip6": "icmpv6 addr-unreachable"}
    return "".join(
        f'    oifname "{settings.bridge}" {family} daddr {pods} reject with {words[family]}\n'
        for family, pods, _ in _ranges(settings)
    )


def mark(settings: NetworkSettings) -> str:
    """The comment by which our rules in other tables are known."""
    return f"sampan {settings.owner}"


def base_chains(listing: Iterable[dict[str, Any]], own: Collection[str] = ()) -> list[Chain]:
    """Each chain where what goes to pods, or from them to the host, may be stopped, but for those of our `own` tables.

    `listing` is what `nft -j list chains` gives.
    """
    chains = (item["chain"] for item in listing if "chain" in item)
    return [
        (chain["family"], chain["table"], chain["name"])
        for chain in chains
        if chain.get("hook") in ("input", "forward")
        and chain["family"] in ("ip", "ip6", "inet")
        and chain["table"] not in own
    ]


def dropping_chains(listing: list[dict[str, Any]]) -> list[Chain]:
    """Those base chains that stop what they aren't told to let pass: by their policy, or by their last rule.

    `listing` is what `nft -j list chain ...` gives, of one chain or of several.
    """
    last = {_place(item["rule"]): item["rule"] for item in listing if "rule" in item}
    return [
        place
        for item in listing
        for place in base_chains([item])
        if item["chain"].get("policy") == "drop" or (place in last and _stops_all(last[place]))
    ]


def _place(rule: dict[str, Any]) -> Chain:
    return rule["family"], rule["table"], rule["chain"]


def _stops_all(rule: dict[str, Any]) -> bool:
    """Without a condition. What nft can't name is a part that iptables brought."""
    *before, verdict = rule.get("expr") or [{}]
    if any(not part.keys() <= {"counter", "log"} for part in before):
        return False
    return bool(verdict.keys() & {"drop", "reject"}) or verdict.get("xt") == {"type": "target", "name": "REJECT"}


def openings(settings: NetworkSettings, chains: Iterable[Chain]) -> str:
    """Commands that let this node's pods through the chains."""
    comment = f'comment "{mark(settings)}"'
    lines = []
    for family, name, chain in chains:
        rule = f"insert rule {family} {name} {chain}"
        lines.append(f'{rule} iifname "{settings.cable_prefix}*" accept {comment}')
        lines.append(f'{rule} oifname "{settings.cable_prefix}*" accept {comment}')
    return "\n".join(lines)


def closings(settings: NetworkSettings, listing: Iterable[dict[str, Any]]) -> str:
    """Commands that take our rules out of other tables. `listing` has the chains, as `nft -j -a list` gives them."""
    rules = (item["rule"] for item in listing if "rule" in item)
    ours = [rule for rule in rules if rule.get("comment") == mark(settings)]
    return "\n".join(f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}" for r in ours)


def pod_ranges(settings: NetworkSettings) -> list[str]:
    """The addresses of the cluster's pods."""
    return [all_pods for _, _, all_pods in _ranges(settings)]


def refusal(chain: Chain, cidrs: Iterable[str], reason: str) -> str:
    """What to tell of a chain that was not opened, and how it is done by hand."""
    family, table, name = chain
    words = reason.splitlines()[0] if reason else "refused"
    hand = remedy(cidrs) if table == "firewalld" else remedy_by_iptables(cidrs)
    return f"chain {name} of nft table {family} {table} stops pods and can't be opened ({words}). To mend it: {hand}"


def remedy(cidrs: Iterable[str]) -> str:
    """How firewalld lets pods through."""
    sources = " ".join(f"--add-source={cidr}" for cidr in cidrs)
    return f"firewall-cmd --permanent --zone=trusted {sources} && firewall-cmd --reload"


def remedy_by_iptables(cidrs: Iterable[str], program: str = "iptables") -> str:
    """How iptables does, until it is loaded anew."""
    programs = ((program.replace("ip", "ip6", 1) if ":" in cidr else program, cidr) for cidr in cidrs)
    return " && ".join(f"{name} -I FORWARD {way} {cidr} -j ACCEPT" for name, cidr in programs for way in ("-s", "-d"))
