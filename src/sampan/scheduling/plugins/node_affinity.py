"""Node selector and required node affinity bind a pod to nodes; preferred node affinity draws it to some.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#affinity-and-anti-affinity
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from sampan.scheduling import node_terms
from sampan.scheduling.framework import Local, normalised
from sampan.scheduling.node_terms import NodeTerms
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NAME = "NodeAffinity"
NO_MATCH = Verdict(NAME, ("node(s) didn't match Pod's node affinity/selector",))
NOT_ADDED = Verdict(NAME, ("node(s) didn't match scheduler-enforced node affinity",))
NOT_NAMED = Verdict(NAME, (f"node(s) didn't satisfy plugin(s) [{NAME}]",))
CONFLICT = Verdict(NAME, ("pod affinity terms conflict",))


def plugin(args: Mapping[str, Any]) -> Local:
    """`addedAffinity` counts for all pods."""
    added = node_terms.affinity(args.get("addedAffinity") or {})

    def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
        """All of nodeSelector, and one of the required terms if there are any."""
        terms = node_terms.of(pod)
        if terms.is_indifferent and added.is_indifferent:
            return [None] * len(nodes)
        named = terms.names()
        if named is not None and not named:
            return [CONFLICT] * len(nodes)
        labels, names = snapshot.labels, snapshot.names
        return [
            NOT_NAMED if named is not None and names[n] not in named else _verdict(names[n], labels[n], terms, added)
            for n in nodes
        ]

    def sign(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int]:
        """The weights of the preferred terms that match."""
        terms = node_terms.of(pod)
        if not terms.preferred and not added.preferred:
            return [0] * len(nodes)
        both = NodeTerms(preferred=(*terms.preferred, *added.preferred))
        return [both.weight(snapshot.names[n], snapshot.labels[n]) for n in nodes]

    return Local(NAME, filter, sign=sign, weigh=weigh)


def weigh(signs: Sequence[Hashable], snapshot: Snapshot) -> Sequence[int]:
    """The more the better."""
    return normalised(signs)  # type: ignore[arg-type]  # they are what `sign` gave


def _verdict(name: str, labels: Mapping[str, str], terms: NodeTerms, added: NodeTerms) -> Verdict | None:
    if not added.matches(name, labels):
        return NOT_ADDED
    return None if terms.matches(name, labels) else NO_MATCH
