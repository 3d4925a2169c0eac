"""Pods that must be spread: topologySpreadConstraints with whenUnsatisfiable DoNotSchedule.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from collections.abc import Mapping
from typing import Any

from sampan.scheduling import matching
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

UNEVEN = Verdict(("node(s) didn't match pod topology spread constraints",), is_final=False)
UNLABELLED = Verdict(("node(s) didn't match pod topology spread constraints (missing required label)",))


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """No domain would be ahead of the emptiest eligible one by more than maxSkew. `nodes` are the eligible ones."""
    listed = pod.spec.get("topologySpreadConstraints") or ()
    constraints = [c for c in listed if c.get("whenUnsatisfiable") == "DoNotSchedule"]
    found: list[Verdict | None] = [None] * len(nodes)
    for constraint in constraints:
        verdicts = _one(constraint, pod, nodes, snapshot)
        found = [before or new for before, new in zip(found, verdicts, strict=True)]
    return found


def _one(constraint: Mapping[str, Any], pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    key = str(constraint["topologyKey"])
    counts = matching.counts(constraint, pod, snapshot)
    eligible = {snapshot.labels[n][key] for n in nodes if key in snapshot.labels[n]}
    fewest = min((counts.get(domain, 0) for domain in eligible), default=0)
    if len(eligible) < int(constraint.get("minDomains") or 1):
        fewest = 0
    itself = 1 if matching.means(constraint, pod.pod, pod.pod) else 0
    most = fewest + int(constraint["maxSkew"]) - itself
    verdicts: list[Verdict | None] = []
    for n in nodes:
        domain = snapshot.labels[n].get(key)
        if domain is None:
            verdicts.append(UNLABELLED)
        else:
            verdicts.append(UNEVEN if counts.get(domain, 0) > most else None)
    return verdicts
