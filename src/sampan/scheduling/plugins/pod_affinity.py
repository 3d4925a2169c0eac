"""Pods that must be near others, or must not be: required pod affinity and anti-affinity.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.scheduling import matching
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

FAR = Verdict(("node(s) didn't match pod affinity rules",))
NEAR = Verdict(("node(s) didn't match pod anti-affinity rules",), is_final=False)
UNWANTED = Verdict(("node(s) didn't satisfy existing pods anti-affinity rules",), is_final=False)

Terms = Sequence[Mapping[str, Any]]


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """Every required term holds, and so do those of the pods that are there already."""
    near, far = required(pod, "podAffinity"), required(pod, "podAntiAffinity")
    if not near and not far and not snapshot.guarded:
        return [None] * len(nodes)
    wanted = [(str(term["topologyKey"]), _domains(term, pod, snapshot)) for term in near]
    shunned = [(str(term["topologyKey"]), set(matching.counts(term, pod, snapshot))) for term in far]
    closed = _closed(pod, snapshot)
    found: list[Verdict | None] = []
    for n in nodes:
        labels = snapshot.labels[n]
        if any(key not in labels or (domains is not None and labels[key] not in domains) for key, domains in wanted):
            found.append(FAR)
        elif any(labels.get(key) in domains for key, domains in shunned):
            found.append(NEAR)
        else:
            found.append(UNWANTED if any(labels.get(key) == domain for key, domain in closed) else None)
    return found


def required(pod: Demand, kind: str) -> Terms:
    """The required terms of podAffinity or podAntiAffinity."""
    affinity = (pod.spec.get("affinity") or {}).get(kind) or {}
    terms: Terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return terms


def _domains(term: Mapping[str, Any], pod: Demand, snapshot: Snapshot) -> set[str] | None:
    """Where the pod may go; None means any domain: it is the first of a group that wants to be together."""
    domains = set(matching.counts(term, pod, snapshot))
    return None if not domains and matching.means(term, pod.pod, pod.pod) else domains


def _closed(pod: Demand, snapshot: Snapshot) -> set[tuple[str, str]]:
    """(topology key, domain) pairs in which a pod lives that does not want this one near."""
    closed: set[tuple[str, str]] = set()
    for other, node in snapshot.guarded.values():
        at = snapshot.index.get(node)
        for term in required(other, "podAntiAffinity") if at is not None else ():
            domain = snapshot.labels[at or 0].get(str(term["topologyKey"]))
            if domain is not None and matching.means(term, other.pod, pod.pod):
                closed.add((str(term["topologyKey"]), domain))
    return closed
