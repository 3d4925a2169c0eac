"""Model: everything that is known of policies, pods and namespaces, and the ruleset that follows from it.

Each change costs what it concerns: a pod is compared with the selectors that can mean it, a policy with its namespace's
pods. The order in which things become known makes no difference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.node.network.policies import chains, policy, ruleset
from sampan.node.network.policies.chains import Translation
from sampan.node.network.policies.claims import Claims
from sampan.node.network.policies.isolation import Isolation
from sampan.node.network.policies.members import Members
from sampan.node.network.policies.pods import Key, Seen
from sampan.node.network.policies.policy import Peer
from sampan.node.network.policies.ruleset import Ruleset

Object = Mapping[str, Any]

_DNS = (chains.DNS_NAMESPACE, "")
_DNS_PORTS = (("UDP", "dns", chains.DNS_PORT), ("TCP", "dns-tcp", chains.DNS_PORT))


class Model:
    """Of one node, whose pods have addresses of these families (4, 6), and whose name server answers at `dns`."""

    def __init__(self, families: tuple[int, ...], dns: Sequence[str]) -> None:
        self.ruleset = Ruleset()
        for address in dns:
            self.ruleset.add(ruleset.DNS[6 if ":" in address else 4], address)
        self._claims = Claims()
        self._dns_labels: Mapping[str, str] | None = None
        self._members = Members(self.ruleset, families)
        self._members.put_pod(_DNS, Seen(_DNS, ("", ""), chains.DNS_LABELS, tuple(dns), _DNS_PORTS, is_of_node=True))
        self._isolation = Isolation(self.ruleset, self._members, Translation(families, self._means_dns))

    def put_policy(self, key: Key, obj: Object | None) -> None:
        """A policy is as it is now, or gone."""
        self._isolation.put_policy(key, policy.of(obj) if obj is not None else None)

    def put_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """A namespace has these labels, or is gone."""
        self._members.put_namespace(name, labels)
        if name == chains.DNS_NAMESPACE and labels != self._dns_labels:
            self._dns_labels = labels
            self._isolation.write_again()

    def put_pod(self, key: Key, pod: Seen | None) -> None:
        """A pod is as it is now, or has no address any more."""
        affected = list(self._claims.put(key, pod))
        if len(affected) > 1:  # who loses an address loses it before another one has it
            for each in affected:
                self._isolation.put_pod(each, None)
        for each in affected:
            seen = self._claims.get(each)
            self._members.put_pod(each, seen)
            self._isolation.put_pod(each, seen if seen is not None and seen.is_here else None)

    def _means_dns(self, peer: Peer) -> bool:
        if not peer.namespace and self._dns_labels is None:
            return False
        is_meant = peer.takes_namespace(chains.DNS_NAMESPACE, self._dns_labels or {})
        return is_meant and peer.pods.matches(chains.DNS_LABELS)
