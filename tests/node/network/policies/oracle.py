"""The meaning of NetworkPolicies as the API's documentation has it, asked for one packet at a time, without any table."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.meta import selectors
from tests.node.network.policies.world import GATEWAY, Packet

Tree = dict[str, Any]
DNS = {
    "metadata": {"namespace": "kube-system", "name": "dns", "labels": {"k8s-app": "kube-dns"}},
    "spec": {
        "containers": [
            {
                "ports": [
                    {"name": "dns", "protocol": "UDP", "containerPort": 53},
                    {"name": "dns-tcp", "protocol": "TCP", "containerPort": 53},
                ]
            }
        ]
    },
}


@dataclass
class Oracle:
    """What there is, by name. The name server counts as a pod at port 53 of the node's address."""

    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pods: dict[tuple[str, str], Tree] = field(default_factory=dict)
    policies: dict[tuple[str, str], Tree] = field(default_factory=dict)

    def passes(self, packet: Packet) -> bool:
        """Whether the policies of both sides let it through; a node's own side is nobody's."""
        if packet.source == packet.target:
            return True
        sender, getter = self._pod_at(packet.source), self._pod_at(packet.target)
        return self._side(sender, getter, packet, "Egress") and self._side(getter, sender, packet, "Ingress")

    def _side(self, subject: Tree | None, other: Tree | None, packet: Packet, type: str) -> bool:
        if subject is None:
            return True
        under = [p for p in self.policies.values() if type in p["spec"]["policyTypes"] and _selects(p, subject)]
        return not under or any(self._allows(p, other, packet, type, subject) for p in under)

    def _allows(self, policy: Tree, other: Tree | None, packet: Packet, type: str, subject: Tree) -> bool:
        way, peers = ("egress", "to") if type == "Egress" else ("ingress", "from")
        address = packet.target if type == "Egress" else packet.source
        server = self._server(packet) if type == "Egress" else subject
        if type == "Egress" and other is None and packet.target == GATEWAY and packet.port == 53:
            other = DNS if packet.protocol in ("UDP", "TCP") else None
        for rule in policy["spec"].get(way) or ():
            listed = rule.get(peers) or ()
            is_peer = not listed or any(self._is_peer(policy, peer, other, address) for peer in listed)
            if is_peer and _is_port(rule, packet, server):
                return True
        return False

    def _server(self, packet: Packet) -> Tree | None:
        if packet.target == GATEWAY and packet.port == 53 and "kube-system" in self.namespaces:
            return DNS
        pod = self._pod_at(packet.target)
        return pod if pod is not None and pod["metadata"]["namespace"] in self.namespaces else None

    def _is_peer(self, policy: Tree, peer: Tree, other: Tree | None, address: str) -> bool:
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            return _within(address, [block["cidr"]]) and not _within(address, block.get("except") or ())
        if other is None:
            return False
        namespace = other["metadata"]["namespace"]
        if "namespaceSelector" in peer:
            labels = self.namespaces.get(namespace)
            selector = selectors.from_label_selector(peer["namespaceSelector"])
            if labels is None or not selector.matches(labels):
                return False
        elif namespace != policy["metadata"]["namespace"]:
            return False
        return selectors.from_label_selector(peer.get("podSelector", {})).matches(other["metadata"]["labels"])

    def _pod_at(self, address: str) -> Tree | None:
        found = [p for p in self.pods.values() if address in [i["ip"] for i in p["status"]["podIPs"]]]
        found = [p for p in found if p["status"]["phase"] == "Running"]
        return max(found, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["uid"]), default=None)


def _selects(policy: Tree, pod: Tree) -> bool:
    if policy["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    return selectors.from_label_selector(policy["spec"]["podSelector"]).matches(pod["metadata"]["labels"])


def _is_port(rule: Tree, packet: Packet, server: Tree | None) -> bool:
    listed = rule.get("ports") or ()
    return not listed or any(_matches(port, packet, server) for port in listed)


def _matches(port: Tree, packet: Packet, server: Tree | None) -> bool:
    if port["protocol"] != packet.protocol:
        return False
    number = port.get("port")
    if number is None:
        return True
    if isinstance(number, int):
        return bool(number <= packet.port <= port.get("endPort", number))
    named = [p for c in (server or {"spec": {"containers": []}})["spec"]["containers"] for p in c["ports"]]
    return (number, packet.protocol, packet.port) in [(p["name"], p["protocol"], p["containerPort"]) for p in named]


def _within(address: str, blocks: Iterable[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(block) for block in blocks)
