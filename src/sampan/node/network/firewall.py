"""Firewall: the rules that let pods through: masquerade outwards, and past a host firewall that drops.

The node's table holds only what is about pods as such; services have a table of their own. A chain
elsewhere whose policy is to drop (ufw's, or the one Docker sets) would still drop what we accept, so
there the pods' cables are let in by a marked rule of ours, which is taken out again.

https://wiki.nftables.org/wiki-nftables/index.php/Configuring_chains
"""

from collections.abc import Iterable
from typing import Any

from sampan.node.network.settings import NetworkSettings


def table(settings: NetworkSettings) -> str:
    """The node's table as one transaction that replaces what was there.

    A pod's address that leads to the gateway's link and not to a cable is nobody's.
    """
    family, cables = f'"{settings.family}*"', f'"{settings.cable_prefix}*"'
    return f"""table ip {settings.table}
delete table ip {settings.table}
table ip {settings.table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {settings.pod_cidr} oifname != {family} ip daddr != {settings.cluster_pod_cidr} masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname {cables} ct state established,related accept
    oifname {cables} iifname != {family} drop comment "pods are not reachable from other networks"
    oifname "{settings.bridge}" ip daddr {settings.pod_cidr} reject with icmp host-unreachable
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oifname {cables} icmp type redirect drop comment "pods talk through the host"
    ct status dnat accept comment "routed anew after this chain"
    oifname "{settings.bridge}" ip daddr {settings.pod_cidr} reject with icmp host-unreachable
  }}
}}
"""


def mark(settings: NetworkSettings) -> str:
    """The comment by which our rules in other tables are known."""
    return f"sampan {settings.owner}"


def dropping_chains(listing: Iterable[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(family, table, chain) of each IPv4 input or forward chain that drops unless told otherwise.

    `listing` is what `nft -j list chains` gives.
    """
    chains = (item["chain"] for item in listing if "chain" in item)
    return [
        (chain["family"], chain["table"], chain["name"])
        for chain in chains
        if chain.get("policy") == "drop"
        and chain.get("hook") in ("input", "forward")
        and chain["family"] in ("ip", "inet")
    ]


def openings(settings: NetworkSettings, chains: Iterable[tuple[str, str, str]]) -> str:
    """Commands that let this node's pods through the chains."""
    comment = f'comment "{mark(settings)}"'
    lines = []
    for family, name, chain in chains:
        rule = f"insert rule {family} {name} {chain}"
        lines.append(f'{rule} iifname "{settings.cable_prefix}*" accept {comment}')
        lines.append(f'{rule} oifname "{settings.cable_prefix}*" accept {comment}')
    return "\n".join(lines)


def closings(settings: NetworkSettings, listing: Iterable[dict[str, Any]]) -> str:
    """Commands that take our rules out of other tables. `listing` is what `nft -j -a list ruleset` gives."""
    rules = (item["rule"] for item in listing if "rule" in item)
    ours = [rule for rule in rules if rule.get("comment") == mark(settings)]
    return "\n".join(f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}" for r in ours)
