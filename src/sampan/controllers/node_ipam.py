"""Node IPAM: each node gets networks of its own for its pods, from the cluster's ranges; none is held twice.

Networks that a node came with stay. One worker gives them out, one after the other.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/ (--allocate-node-cidrs)
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sampan.control.controller import Controller
from sampan.control.plan import Key, Patch, Plan, normal, plan
from sampan.control.view import View
from sampan.kinds.core.node import NODE
from sampan.kinds.kind import Object
from sampan.meta import objects

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FULL = "CIDRNotAvailable"
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS, MOST_TRIES = 1.0, 60.0, 6


@dataclass(frozen=True, slots=True)
class Pool:
    """A range, such as 10.244.0.0/16, of which each node gets a network of this prefix length.

    The first `reserved` of those are for nodes that come with theirs.
    """

    cidr: str
    prefix_length: int
    reserved: int = 0


def controller(pools: tuple[Pool, ...]) -> Controller:
    """Who gives networks of these, at most one of each family."""

    def reconcile(view: View, key: Key, now: float) -> Plan:
        node = view.get(NODE, key)
        if node is None or objects.is_deleting(node) or networks(node):
            return Plan(memory={}) if view.memory else Plan()
        given = _given(pools, view.each(NODE))
        if not given:
            return _again(view, node)
        patch = {"spec": {"podCIDR": given[0], "podCIDRs": given}}
        return plan([Patch(NODE, key, patch, type="strategic", uid=objects.uid(node))])

    return Controller(
        "node-ipam-controller", NODE, reconcile, workers=1, component="cidrAllocator", matters=_lacks_networks
    )


def networks(node: Object) -> list[str]:
    """Those that a node has."""
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or filter(None, (spec.get("podCIDR"),)))


def _given(pools: Iterable[Pool], nodes: Iterable[Object]) -> list[str]:
    """A free network of each pool; none at all when one of the pools is exhausted."""
    taken = [network for node in nodes for text in networks(node) for network in _parsed(text)]
    found = [next(_free(pool, taken), None) for pool in pools]
    return [] if None in found else [str(network) for network in found]


def _free(pool: Pool, taken: list[Network]) -> Iterator[Network]:
    """In order; a network counts as taken when any part of it is."""
    whole = ipaddress.ip_network(pool.cidr)
    size = 1 << (whole.max_prefixlen - pool.prefix_length)
    first = int(whole.network_address)
    used: set[int] = set()
    for network in taken:
        if network.version == whole.version and network.overlaps(whole):
            start, end = int(network.network_address) - first, int(network.broadcast_address) - first
            used.update(range(max(start, 0) // size, min(end, whole.num_addresses - 1) // size + 1))
    for number in range(pool.reserved, whole.num_addresses // size):
        if number not in used:
            yield ipaddress.ip_network((first + number * size, pool.prefix_length))


def _again(view: View, node: Object) -> Plan:
    """Says so, and looks again ever later: another node may go."""
    tries = view.memory.get("tries", 0)
    wait = min(FIRST_WAIT_SECONDS * 2.0**tries, LAST_WAIT_SECONDS)
    told = normal(FULL, f"Node {objects.name(node)} status is now: {FULL}")
    return Plan(events=(told,), again=wait, memory={"tries": min(tries + 1, MOST_TRIES)})


def _parsed(text: str) -> Iterator[Network]:
    try:
        yield ipaddress.ip_network(text, strict=False)
    except ValueError:
        return


def _lacks_networks(old: Object | None, new: Object | None) -> bool:
    return new is not None and not networks(new)
