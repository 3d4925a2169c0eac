"""Node terms: which nodes a pod's nodeSelector and node affinity pick. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#affinity-and-anti-affinity
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.kit.texts import Texts
from sampan.meta.selectors import Requirement
from sampan.scheduling.demand import REMEMBERED_BYTES, Demand
from sampan.scheduling.terms import Labels

OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}
NAME = "metadata.name"

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Term:
    """Requirements on a node's labels and on its name; one without any picks no node."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, name: str, labels: Labels) -> bool:
        """Whether it picks the node."""
        if not self.labels and not self.fields:
            return False
        if not all(requirement.matches(labels) for requirement in self.labels):
            return False
        return all(requirement.matches({NAME: name}) for requirement in self.fields)


@dataclass(frozen=True, slots=True)
class NodeTerms:
    """What a pod wants of its node: all of `selector`, one of `required` if it is not None, the rest if possible."""

    selector: tuple[tuple[str, str], ...] = ()
    required: tuple[Term, ...] | None = None
    preferred: tuple[tuple[Term, int], ...] = ()

    @property
    def is_indifferent(self) -> bool:
        """Whether any node will do."""
        return not self.selector and self.required is None

    def matches(self, name: str, labels: Labels) -> bool:
        """Whether it may be that node."""
        if any(labels.get(key) != value for key, value in self.selector):
            return False
        return self.required is None or any(term.matches(name, labels) for term in self.required)

    def weight(self, name: str, labels: Labels) -> int:
        """The weights of the preferred terms that match, summed."""
        return sum(weight for term, weight in self.preferred if term.matches(name, labels))

    def names(self) -> frozenset[str] | None:
        """The only nodes that come into question, where every term names some; None for all."""
        if not self.required:
            return None
        found: set[str] = set()
        for term in self.required:
            named = [frozenset(field.values) for field in term.fields if field.operator == "in"]
            if not named:
                return None
            found |= frozenset.intersection(*named)
        return frozenset(found)


def of(pod: Demand) -> NodeTerms:
    """The pod's."""
    return _READ[pod.shape]


def affinity(tree: Tree) -> NodeTerms:
    """Those of a nodeAffinity."""
    required = tree.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = tree.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return NodeTerms(
        required=None if required is None else tuple(_term(t) for t in required.get("nodeSelectorTerms") or ()),
        preferred=tuple((_term(each.get("preference") or {}), int(each.get("weight") or 0)) for each in preferred),
    )


def _read(shape: bytes) -> NodeTerms:
    _, selector, tree, _ = orjson.loads(shape)[1]
    found = affinity(tree or {})
    return NodeTerms(tuple((selector or {}).items()), found.required, found.preferred)


_READ = Texts(_read, 1024, REMEMBERED_BYTES)


def _term(tree: Tree) -> Term:
    return Term(_requirements(tree.get("matchExpressions")), _requirements(tree.get("matchFields")))


def _requirements(expressions: Any) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(str(e["key"]), OPERATORS[e["operator"]], tuple(e.get("values") or ())) for e in expressions or ()
    )
