"""Balancer pools: which CIDRs may be asked for as load balancers' addresses."""

import ipaddress

from sampan.cluster.settings import Settings

WORDS = ("pool", "node", "none")


def parse(text: str) -> str:
    """The choice as it is kept: one of the words, or CIDRs. Raises ValueError."""
    if text in WORDS:
        return text
    found = [ipaddress.ip_network(part.strip()) for part in text.split(",")]
    for network in found:
        if network.is_loopback or network.is_link_local or network.is_multicast or network.is_unspecified:
            raise ValueError(f"{network} leads nowhere")
    return ",".join(map(str, found))


def clash(cluster: Settings) -> str:
    """What of the cluster's other addresses is in a pool that was asked for; "" for nothing."""
    if cluster.load_balancer in WORDS:
        return ""
    pools = [ipaddress.ip_network(text) for text in cluster.load_balancer.split(",")]
    for name in ("service_cidr", "pod_cidr", "lan_cidr"):
        own = ipaddress.ip_network(getattr(cluster, name))
        for pool in pools:
            if pool.version == own.version and pool.overlaps(own):
                return f"{pool} is not free: the cluster's {name.removesuffix('_cidr')} addresses are {own}"
    return ""
