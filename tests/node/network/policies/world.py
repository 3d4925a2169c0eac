"""Three namespaces with three pods each, as upstream's suite has them, and what becomes of a packet in a ruleset."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.node.network.policies import pods
from sampan.node.network.policies.chains import Drop, Jump, Line
from sampan.node.network.policies.model import Model
from sampan.node.network.policies.ruleset import Ruleset

Tree = dict[str, Any]

NAMESPACES = ("x", "y", "z")
NAMES = ("a", "b", "c")
PODS = tuple(f"{namespace}/{name}" for namespace in NAMESPACES for name in NAMES)
PORTS = ((80, "TCP"), (81, "TCP"), (80, "UDP"), (81, "UDP"), (80, "SCTP"), (81, "SCTP"))
NODE = "n1"
GATEWAY = "10.1.9.1"


def namespace(name: str, **labels: str) -> Tree:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, "ns": name, **labels}}}


def pod(place: str, *addresses: str, node: str = NODE, **labels: str) -> Tree:
    """A pod that serves all ports, under upstream's names for them."""
    of, name = place.split("/")
    named = [{"name": f"serve-{n}-{p.lower()}", "containerPort": n, "protocol": p} for n, p in PORTS]
    metadata = {"namespace": of, "name": name, "uid": f"uid-{of}-{name}", "labels": {"pod": name, **labels}}
    return {
        "metadata": {**metadata, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": node, "containers": [{"name": "main", "ports": named}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address} for address in addresses]},
    }


def address(place: str) -> str:
    """Where the pod is when nobody has given it another address."""
    return f"10.1.0.{PODS.index(place) + 10}"


@dataclass(frozen=True)
class Packet:
    """The first one of a connection, after the translation of service addresses."""

    source: str
    target: str
    protocol: str
    port: int


def passes(rules: Ruleset, packet: Packet, *, to_node: bool = False) -> bool:
    """What the kernel makes of it: between pods, or from a pod to its node."""
    if packet.source == packet.target:
        return True
    family = 6 if ":" in packet.source else 4
    ways = [(f"egress{family}", packet.source)]
    if not to_node:
        ways.append((f"ingress{family}", packet.target))
    chains = [rules.maps[name][key] for name, key in ways if key in rules.maps[name]]
    return all(_accepts(rules, chain, packet) for chain in chains)


def _accepts(rules: Ruleset, chain: str, packet: Packet) -> bool:
    for rule in rules.chains[chain]:
        match rule:
            case Jump(chain=further):
                if _accepts(rules, further, packet):
                    return True
            case Drop():
                return False
            case Line():
                if _matches(rules, rule, packet):
                    return True
    return False


def _matches(rules: Ruleset, line: Line, packet: Packet) -> bool:
    peer = packet.source if line.side == "saddr" else packet.target
    if line.family and (line.family == 6) != (":" in packet.source):
        return False
    if line.peers and peer not in rules.sets[line.peers]:
        return False
    if line.ranges and not any(first <= _number(peer) <= last for first, last in line.ranges):
        return False
    if line.named and f"{packet.target} . {packet.protocol.lower()} . {packet.port}" not in rules.sets[line.named]:
        return False
    if line.protocol and line.protocol != packet.protocol:
        return False
    return not line.ports or any(first <= packet.port <= last for first, last in line.ports)


def _number(text: str) -> int:
    return int(ipaddress.ip_address(text))


def contents(rules: Ruleset) -> Mapping[str, Any]:
    """All of a ruleset, to be compared."""
    sets = {name: set(elements) for name, elements in rules.sets.items()}
    return {"chains": rules.chains, "sets": sets, "maps": rules.maps}


def put_pod(model: Model, obj: Tree) -> None:
    meta = obj["metadata"]
    model.put_pod((meta["namespace"], meta["name"]), pods.seen(obj, NODE))


def put_policy(model: Model, obj: Tree) -> None:
    model.put_policy((obj["metadata"]["namespace"], obj["metadata"]["name"]), obj)


def put_namespace(model: Model, obj: Tree) -> None:
    model.put_namespace(obj["metadata"]["name"], obj["metadata"]["labels"])


def make_model(addresses: Mapping[str, tuple[str, ...]] | None = None) -> Model:
    """The nine pods, all of this node, and kube-system without pods."""
    model = Model((4, 6) if addresses else (4,), [GATEWAY])
    for name in (*NAMESPACES, "kube-system"):
        put_namespace(model, namespace(name))
    for place in PODS:
        put_pod(model, pod(place, *(addresses[place] if addresses else (address(place),))))
    return model
