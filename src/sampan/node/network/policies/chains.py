"""Chains: the rules of the table that a policy comes down to, in one direction.

A rule's peers and ports are multiplied out; each line is one way to be let through. The cluster's name server is no pod:
it belongs to the node. Rules that mean the pods which answer for kube-dns elsewhere let its port 53 through here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sampan.node.network.policies import ranges, ruleset
from sampan.node.network.policies.members import Selection
from sampan.node.network.policies.policy import INGRESS, Peer, Policy, Port, Rule
from sampan.node.network.policies.ranges import Range

DNS_NAMESPACE = "kube-system"
DNS_LABELS = {"k8s-app": "kube-dns"}
DNS_PROTOCOLS = ("UDP", "TCP")
DNS_PORT = 53
_IP = {4: "ip", 6: "ip6"}
_ALL = ((0, 65535),)


@dataclass(frozen=True, slots=True)
class Line:
    """One way to be let through: everything that is given must hold.

    The peer's address (`side`: saddr or daddr) is in the set `peers` or in `ranges`; `ports` are those of a protocol;
    address, protocol and port that the packet goes to are in the set `named`.
    """

    side: str
    family: int = 0
    peers: str = ""
    ranges: tuple[Range, ...] = ()
    protocol: str = ""
    ports: tuple[Range, ...] = ()
    named: str = ""

    def text(self) -> str:
        """As nft reads it."""
        parts = []
        if self.peers:
            parts.append(f"{_IP[self.family]} {self.side} @{self.peers}")
        if self.ranges:
            parts.append(f"{_IP[self.family]} {self.side} {{ {ranges.text(self.ranges, self.family)} }}")
        if self.named:
            parts.append(f"{_IP[self.family]} daddr . meta l4proto . th dport @{self.named}")
        if self.ports and self.ports != _ALL:
            listed = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ports)
            parts.append(f"{self.protocol.lower()} dport {{ {listed} }}")
        elif self.protocol:
            parts.append(f"meta l4proto {self.protocol.lower()}")
        return " ".join([*parts, "accept"])


@dataclass(frozen=True, slots=True)
class Jump:
    """On to the chain of one policy; back from it when nothing there lets through."""

    chain: str

    def text(self) -> str:
        """As nft reads it."""
        return f"jump {self.chain}"


@dataclass(frozen=True, slots=True)
class Drop:
    """What no policy lets through."""

    def text(self) -> str:
        """As nft reads it."""
        return "drop"


@dataclass(frozen=True, slots=True)
class Translation:
    """How policies become lines: for these families, and by which peers the name server is meant."""

    families: tuple[int, ...]
    means_dns: Callable[[Peer], bool]

    def lines(self, policy: Policy, direction: str) -> tuple[Line, ...]:
        """What the policy lets through."""
        found: list[Line] = []
        for rule in policy.rules(direction) or ():
            found += self._ingress(rule, policy) if direction == INGRESS else self._egress(rule)
        return tuple(dict.fromkeys(found))

    def _ingress(self, rule: Rule, policy: Policy) -> Iterator[Line]:
        """Names of ports are those of the pods that the policy is about."""
        subject = Peer(namespace=policy.key[0], pods=policy.pods)
        for peer in self._peers(rule, "saddr"):
            for protocol, numbers in _numbers(rule):
                yield _with_ports(peer, protocol, numbers)
            for named in _names(rule):
                for family in self.families if not peer.family else (peer.family,):
                    name = Selection(subject, named).set_name(family)
                    yield Line(peer.side, family, peer.peers, peer.ranges, named=name)

    def _egress(self, rule: Rule) -> Iterator[Line]:
        """Names of ports are those of the pods to be reached, also where these are meant by their addresses."""
        for peer in self._peers(rule, "daddr"):
            for protocol, numbers in _numbers(rule):
                yield _with_ports(peer, protocol, numbers)
        for named in _names(rule):
            for family in self.families:
                for pods in _pods_of(rule):
                    yield Line("daddr", family, named=Selection(pods, named).set_name(family))
                if blocks := rule.blocks_of(family):
                    yield Line("daddr", family, ranges=blocks, named=Selection(Peer(), named).set_name(family))
        if any(self.means_dns(peer) for peer in rule.peers):
            for protocol in _dns_protocols(rule):
                for family in self.families:
                    yield Line("daddr", family, ruleset.DNS[family], protocol=protocol, ports=((DNS_PORT, DNS_PORT),))

    def _peers(self, rule: Rule, side: str) -> Iterator[Line]:
        if rule.is_open:
            yield Line(side)
        for family in self.families:
            for peer in rule.peers:
                yield Line(side, family, Selection(peer).set_name(family))
            if blocks := rule.blocks_of(family):
                yield Line(side, family, ranges=blocks)


def selections(policy: Policy, direction: str) -> list[Selection]:
    """What the policy's lines ask, in one direction."""
    found: dict[Selection, None] = {}
    for rule in policy.rules(direction) or ():
        if any(True for _ in _numbers(rule)) or direction == INGRESS:
            found |= dict.fromkeys(Selection(peer) for peer in rule.peers)
        subjects = [Peer(namespace=policy.key[0], pods=policy.pods)] if direction == INGRESS else _servers_of(rule)
        found |= dict.fromkeys(Selection(peer, named) for peer in subjects for named in _names(rule))
    return list(found)


def _with_ports(peer: Line, protocol: str, numbers: tuple[Range, ...]) -> Line:
    return Line(peer.side, peer.family, peer.peers, peer.ranges, protocol, numbers)


def _numbers(rule: Rule) -> Iterator[tuple[str, tuple[Range, ...]]]:
    """The ports that have numbers, by protocol; ("", ()) when everything is let through."""
    if not rule.ports:
        yield "", ()
    for protocol in dict.fromkeys(port.protocol for port in rule.ports if not port.name):
        yield (
            protocol,
            ranges.merged(_range(port) for port in rule.ports if port.protocol == protocol and not port.name),
        )


def _range(port: Port) -> Range:
    return port.first, port.last


def _names(rule: Rule) -> list[tuple[str, str]]:
    return [(port.protocol, port.name) for port in rule.ports if port.name]


def _servers_of(rule: Rule) -> list[Peer]:
    """Whose names of ports an egress rule goes by."""
    return [*_pods_of(rule), *([Peer()] if rule.blocks or rule.blocks6 else ())]


def _pods_of(rule: Rule) -> tuple[Peer, ...]:
    """The pods among a rule's peers: all there are when it has none."""
    return (Peer(),) if rule.is_open else rule.peers


def _dns_protocols(rule: Rule) -> list[str]:
    """By which protocols the rule lets the name server's port through."""
    given = dict(_numbers(rule))
    every = _ALL if "" in given else ()
    return [p for p in DNS_PROTOCOLS if any(a <= DNS_PORT <= b for a, b in given.get(p, every))]
