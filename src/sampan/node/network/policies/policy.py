"""What a NetworkPolicy says: which pods it isolates, and for each direction which peers at which ports remain.

A direction that it is not about is None, one without rules lets nothing through. Policies only ever add: a pod has
what any of its policies allows.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects, selectors
from sampan.meta.selectors import EVERYTHING, Selector
from sampan.node.network.policies import ranges
from sampan.node.network.policies.ranges import Range

Object = Mapping[str, Any]
Key = tuple[str, str]

INGRESS, EGRESS = "ingress", "egress"
DIRECTIONS = (INGRESS, EGRESS)
_PEERS = {INGRESS: "from", EGRESS: "to"}
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Peer:
    """Some of the pods in a namespace; where none is named, in those that a selector picks."""

    namespace: str = ""
    namespaces: Selector = EVERYTHING
    pods: Selector = EVERYTHING

    def takes_namespace(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether pods of a namespace with these labels can be meant."""
        return self.namespace == name if self.namespace else self.namespaces.matches(labels)


@dataclass(frozen=True, slots=True)
class Port:
    """Ports of one protocol: from `first` to `last`, or those that a pod calls by `name`."""

    protocol: str
    first: int = 0
    last: int = _LAST_PORT
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Pods and addresses, or everybody (`is_open`), at these ports, or at all if there is none."""

    is_open: bool
    peers: tuple[Peer, ...]
    blocks: tuple[Range, ...]
    blocks6: tuple[Range, ...]
    ports: tuple[Port, ...]

    def blocks_of(self, family: int) -> tuple[Range, ...]:
        """The addresses of one family (4 or 6) that are named themselves."""
        return self.blocks if family == 4 else self.blocks6


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy."""

    key: Key
    pods: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    def rules(self, direction: str) -> tuple[Rule, ...] | None:
        """What it allows in a direction; None where it isolates nobody."""
        return self.ingress if direction == INGRESS else self.egress


def of(obj: Object) -> Policy:
    """What the object says."""
    spec = obj.get("spec") or {}
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    key = objects.key(obj)
    return Policy(
        key,
        selectors.from_label_selector(spec.get("podSelector") or {}),
        _rules(spec, INGRESS, key[0]) if "Ingress" in types else None,
        _rules(spec, EGRESS, key[0]) if "Egress" in types else None,
    )


def _rules(spec: Object, direction: str, namespace: str) -> tuple[Rule, ...]:
    return tuple(_rule(rule, _PEERS[direction], namespace) for rule in spec.get(direction) or ())


def _rule(rule: Object, peers: str, namespace: str) -> Rule:
    given = rule.get(peers) or ()
    blocks = [peer["ipBlock"] for peer in given if peer.get("ipBlock") is not None]
    return Rule(
        is_open=not given,
        peers=tuple(dict.fromkeys(_peer(peer, namespace) for peer in given if peer.get("ipBlock") is None)),
        blocks=ranges.of_blocks(blocks, 4),
        blocks6=ranges.of_blocks(blocks, 6),
        ports=tuple(dict.fromkeys(_port(port) for port in rule.get("ports") or ())),
    )


def _peer(peer: Object, namespace: str) -> Peer:
    pods = selectors.from_label_selector(peer.get("podSelector") or {})
    if peer.get("namespaceSelector") is None:
        return Peer(namespace=namespace, pods=pods)
    return Peer(namespaces=selectors.from_label_selector(peer["namespaceSelector"]), pods=pods)


def _port(port: Object) -> Port:
    protocol, number = port.get("protocol") or "TCP", port.get("port")
    if number is None:
        return Port(protocol)
    if isinstance(number, str):
        return Port(protocol, name=number)
    return Port(protocol, number, port.get("endPort") or number)
