"""Chains: how a packet for a frontend gets to one of its endpoints (pure).

Frontends of the same shape share their chains: what differs between them is looked up in maps by the packet's own
destination, so that ten thousand services need no more chains than one.
"""

from functools import lru_cache
from typing import NamedTuple

from sampan.node.network.services.frontends import Frontend, Target
from sampan.node.network.settings import NetworkSettings

MASQUERADE = 0x4000
"""The bit of a packet's mark that has it leave under this node's own address."""
LOCAL = 0x8000
"""The bit that tells a place among the endpoints on this node from one among all."""
CHOSEN = 0x2000
"""The bit of a mark that says which endpoint was chosen: all but MASQUERADE goes again before the packet is routed."""
MOST = CHOSEN
"""So many endpoints of a frontend are used: there are no numbers for more."""

_SEED = 0x5A

Chains = tuple[tuple[str, tuple[str, ...]], ...]
"""Names with rules; those that others lead to come first."""


class Shape(NamedTuple):
    """What the chains of a frontend depend on. `local` is -1 where no difference is made."""

    family: int
    is_node: bool
    cluster: int
    local: int
    is_masqueraded: bool
    sticky_seconds: int
    is_guarded: bool

    @property
    def kind(self) -> str:
        """What the names of the maps of such frontends end with."""
        return f"{'-node' if self.is_node else ''}{self.family}"


def shape(frontend: Frontend, target: Target) -> Shape | None:
    """The frontend's shape; none when there is nothing to be done with its packets but to refuse them."""
    if not target.cluster and target.allowed is None:
        return None
    cluster, local = min(len(target.cluster), MOST), -1 if target.local is None else min(len(target.local), MOST)
    sticky = target.sticky_seconds if cluster else 0
    is_guarded = target.allowed is not None
    is_node = not frontend.address
    return Shape(frontend.family, is_node, cluster, local, target.is_masqueraded, sticky, is_guarded)


def key_of(kind: str) -> str:
    """The packet's destination as the maps of such frontends have it."""
    address = "" if kind.startswith("-node") else f"{'ip6' if kind.endswith('6') else 'ip'} daddr . "
    return f"{address}meta l4proto . th dport"


@lru_cache(maxsize=4096)
def chains(shape: Shape, settings: NetworkSettings) -> Chains:
    """The chains of a shape; the last one is the first that a packet sees."""
    bits = MASQUERADE if shape.is_masqueraded else 0
    if not shape.is_guarded and shape.local < 0:
        return _choice(shape, shape.cluster, bits)
    ip = "ip6" if shape.family == 6 else "ip"
    found: dict[str, tuple[str, ...]] = {}
    rules: list[str] = []

    def lead(condition: str, choice: Chains) -> None:
        found.update(choice)
        rules.append(f"{condition}goto {choice[-1][0]}")

    if shape.is_guarded:
        rules.append(f"{key_of(shape.kind)} . {ip} saddr != @allowed{shape.kind} drop")
    if shape.cluster and shape.local < 0:
        lead("", _choice(shape, shape.cluster, bits))
    elif shape.cluster:
        pods = settings.cluster_pod_cidr6 if shape.family == 6 else settings.cluster_pod_cidr
        lead(f"{ip} saddr {pods} ", _choice(shape, shape.cluster, 0))
        lead("fib saddr type local ", _choice(shape, shape.cluster, 0))
        if shape.local:
            lead("", _choice(shape, shape.local, LOCAL))
    return (*found.items(), (_name(shape), tuple(rules)))


def place(index: int, bits: int) -> int:
    """The mark that stands for the endpoint that is now in this place."""
    return index | bits | CHOSEN


def slot(endpoint: tuple[str, int], taken: set[int], bits: int) -> int:
    """The mark that stands for an endpoint whatever its place is, and for no place; new in `taken`."""
    number = hash32(f"{endpoint[0]} {endpoint[1]}") & ~(MASQUERADE | LOCAL | CHOSEN) | 0x10000
    while number in taken:
        number = (number + 1) & 0xFFFF1FFF | 0x10000
    taken.add(number)
    return number | bits | CHOSEN


def hash32(text: str) -> int:
    """FNV-1a."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def _choice(shape: Shape, count: int, bits: int) -> Chains:
    """One of so many, at random or the one that the client had before."""
    kind, key = shape.kind, key_of(shape.kind)
    ip = "ip6" if shape.family == 6 else "ip"
    end = {0: "", MASQUERADE: "-masqueraded", LOCAL: "-local"}[bits]
    pick = f"meta mark set numgen random mod {count} offset {place(0, bits)}"
    go = f"dnat {ip} to {key} . meta mark map @endpoints{kind}"
    if not shape.sticky_seconds:
        return ((f"pick{kind}-{count}{end}", (pick, go)),)
    client = f"{ip} saddr . {key}"
    known = client
    if shape.family == 6:  # nft 1.0.6 can write down nothing longer than 16 bytes: a number that stands for it
        client, known = f"jhash {client} mod {0xFFFFFFFF} seed {_SEED:#x}", "meta mark"
    remember = f"update @clients{kind} {{ {client} timeout {shape.sticky_seconds}s : meta mark }}"
    rules = (
        *((f"meta mark set {client}",) if known != client else ()),
        f"meta mark set {known} map @clients{kind} {remember}",
        go,
        f"delete @clients{kind} {{ {client} : meta mark }}",
        pick,
        f"meta mark set {key} . meta mark map @picks{kind}",
        remember,
        go,
    )
    return ((f"stay{kind}-{count}-{shape.sticky_seconds}{end}", rules),)


def _name(shape: Shape) -> str:
    name = f"enter{shape.kind}-{shape.cluster}"
    name += "" if shape.local < 0 else f"-{shape.local}"
    name += f"-{shape.sticky_seconds}s" if shape.sticky_seconds else ""
    return f"{name}{'-masqueraded' if shape.is_masqueraded else ''}{'-guarded' if shape.is_guarded else ''}"
