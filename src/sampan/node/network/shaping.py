"""Shaping: holds a pod to the pace that its annotations ask for, in each direction.

What the pod gets leaves the host by its cable, so a token bucket there paces it. What it sends is led, as it comes in
at the cable, through a link of its own (ifb) whose token bucket paces it before the host sees it. Both are on the host,
out of the pod's reach.

https://man7.org/linux/man-pages/man8/tc-tbf.8.html
"""

import socket

from sampan.node.network.netlink import Link, Netlink, TokenBucket
from sampan.node.network.pod_request import PodRequest
from sampan.node.network.settings import NetworkSettings

_AT_ONCE_SECONDS = 0.1
_LEAST_AT_ONCE = 65536
"""A segment that the network card would have cut up passes whole."""
_WAIT_SECONDS = 0.025
_MOST = 2**32 - 1


def bucket(bits: int) -> TokenBucket:
    """The bucket for so many bits a second."""
    rate = bits // 8
    burst = min(max(int(rate * _AT_ONCE_SECONDS), _LEAST_AT_ONCE), _MOST // 2)
    return TokenBucket(rate, burst, min(int(rate * _WAIT_SECONDS) + burst, _MOST))


def pace(netlink: Netlink, settings: NetworkSettings, address: str, request: PodRequest) -> None:
    """Paces the pod whose cable is there. Blocks; OSError."""
    if request.ingress_bits:
        cable = socket.if_nametoindex(settings.link_name(address))
        netlink.set_token_bucket(cable, bucket(request.ingress_bits))
    if request.egress_bits:
        name = settings.shaper_name(address)
        netlink.add_link(Link(name, "ifb", mac="", mtu=settings.mtu))
        index = socket.if_nametoindex(name)
        netlink.set_token_bucket(index, bucket(request.egress_bits))
        netlink.set_up(index)


def diversion(settings: NetworkSettings, address: str) -> str:
    """Commands that lead what the pod sends through its link."""
    cable, shaper = settings.link_name(address), settings.shaper_name(address)
    table, chain = settings.table, f"from-{cable}"
    return f"""add table netdev {table}
add chain netdev {table} {chain} {{ type filter hook ingress device "{cable}" priority 0; policy accept; }}
flush chain netdev {table} {chain}
add rule netdev {table} {chain} fwd to "{shaper}"
"""


def end_of_diversion(settings: NetworkSettings, address: str) -> str:
    """Commands that take that back."""
    table, chain = settings.table, f"from-{settings.link_name(address)}"
    what = f"chain netdev {table} {chain}"
    return f"add table netdev {table}\nadd {what}\nflush {what}\ndelete {what}\n"
