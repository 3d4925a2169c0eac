"""Node selector and required node affinity bind a pod to nodes; preferred node affinity draws it to some.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#affinity-and-anti-affinity
"""

from collections.abc import Mapping
from typing import Any

from sampan.meta.selectors import Requirement
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

NO_MATCH = Verdict(("node(s) didn't match Pod's node affinity/selector",))
OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}

Term = tuple[tuple[Requirement, ...], tuple[Requirement, ...]]


def filter(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
    """All of nodeSelector, and one of the required terms if there are any."""
    selector = (pod.spec.get("nodeSelector") or {}).items()
    required = _affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not selector and required is None:
        return [None] * len(nodes)
    terms = [_term(term) for term in (required or {}).get("nodeSelectorTerms") or ()]
    return [
        None
        if all(snapshot.labels[n].get(k) == v for k, v in selector)
        and (required is None or any(_matches(term, n, snapshot) for term in terms))
        else NO_MATCH
        for n in nodes
    ]


def score(pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[float]:
    """The weights of the preferred terms that match, summed."""
    preferred = _affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution")
    if not preferred:
        return [0] * len(nodes)
    terms = [(int(each.get("weight") or 0), _term(each.get("preference") or {})) for each in preferred]
    return [sum(weight for weight, term in terms if _matches(term, n, snapshot)) for n in nodes]


def _affinity(pod: Demand) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    return found


def _term(term: Mapping[str, Any]) -> Term:
    return (_requirements(term.get("matchExpressions")), _requirements(term.get("matchFields")))


def _requirements(expressions: Any) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(str(e["key"]), OPERATORS[e["operator"]], tuple(e.get("values") or ())) for e in expressions or ()
    )


def _matches(term: Term, node: int, snapshot: Snapshot) -> bool:
    """An empty term matches no node."""
    labels, fields = term
    if not labels and not fields:
        return False
    if not all(requirement.matches(snapshot.labels[node]) for requirement in labels):
        return False
    return all(requirement.matches({"metadata.name": snapshot.names[node]}) for requirement in fields)
