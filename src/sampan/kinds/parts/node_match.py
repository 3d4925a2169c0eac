"""Node match: which nodes a pod may be on, as its node's name, its node selector and affinity, and its tolerations say.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.meta.selectors import Requirement

NAME = "metadata.name"
NO_SCHEDULE = "NoSchedule"
NO_EXECUTE = "NoExecute"
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Term:
    """One of the terms of which one must hold: requirements on labels and on fields."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether it holds for this node. A term that asks for nothing holds for none."""
        if not self.labels and not self.fields:
            return False
        return all(r.matches(labels) for r in self.labels) and all(r.matches({NAME: name}) for r in self.fields)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pod spec asks of its node, read once for many nodes. `terms` None: no affinity is required."""

    node_name: str
    selector: Mapping[str, str]
    terms: tuple[Term, ...] | None
    tolerations: tuple[Tree, ...]

    def allows(self, node: Tree) -> bool:
        """Whether the node is one of those that are meant; its taints are left out."""
        name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
        if self.node_name and self.node_name != name:
            return False
        if self.selector and not self.selector.items() <= labels.items():
            return False
        return self.terms is None or any(term.matches(name, labels) for term in self.terms)

    def tolerates(self, node: Tree, *effects: str) -> bool:
        """Whether it puts up with all taints of the node that have one of these effects."""
        taints = node["spec"].get("taints") or ()
        return all(tolerated(self.tolerations, taint) for taint in taints if taint.get("effect") in effects)


def wish(spec: Tree) -> Wish:
    """That of a pod spec."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return Wish(
        node_name=spec.get("nodeName") or "",
        selector=spec.get("nodeSelector") or {},
        terms=None if required is None else terms(required),
        tolerations=tuple(spec.get("tolerations") or ()),
    )


def terms(node_selector: Tree) -> tuple[Term, ...]:
    """Those of a NodeSelector; one that can't be read is left out, so that it holds for no node."""
    found = node_selector.get("nodeSelectorTerms") or ()
    return tuple(
        Term(_requirements(each.get("matchExpressions")), _requirements(each.get("matchFields")))
        for each in found
        if all(map(_is_readable, each.get("matchExpressions") or ()))
    )


def tolerated(tolerations: Iterable[Tree], taint: Tree) -> bool:
    """Whether one of the tolerations covers the taint."""
    return any(covers(toleration, taint) for toleration in tolerations)


def covers(toleration: Tree, taint: Tree) -> bool:
    """An absent effect or key covers all; Exists covers any value."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return (toleration.get("value") or "") == (taint.get("value") or "")
        case _:
            return False


def _requirements(expressions: Iterable[Tree] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(str(e["key"]), _OPERATORS[e["operator"]], tuple(e.get("values") or ())) for e in expressions or ()
    )


def _is_readable(expression: Tree) -> bool:
    if expression["operator"] not in ("Gt", "Lt"):
        return True
    return re.fullmatch("[+-]?[0-9]+", str(expression["values"][0])) is not None
