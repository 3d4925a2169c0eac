"""Terms: what a pod says about other pods: near whom, far from whom, how evenly spread. Read from its spec once. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sampan.meta import selectors
from sampan.meta.selectors import Requirement, Selector

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"

Tree = Mapping[str, Any]
Labels = Mapping[str, str]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class Term:
    """Pods of some namespaces (by name, or by the labels of the namespace) with some labels, in one topology."""

    key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector | None = None

    def means(self, namespace: str, labels: Labels, namespaces: Mapping[str, Labels]) -> bool:
        """Whether a pod is meant. `namespaces` are the labels of all namespaces."""
        if namespace not in self.namespaces:
            chosen = self.namespace_selector
            if chosen is None or namespace not in namespaces or not chosen.matches(namespaces[namespace]):
                return False
        return self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One way of being spread: at most `skew` more of the pods that are meant in a domain than in the emptiest."""

    key: str
    skew: int
    term: Term
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """All that a pod says about others."""

    near: tuple[Term, ...] = ()
    far: tuple[Term, ...] = ()
    liked: tuple[tuple[Term, int], ...] = ()
    """Preferred terms with their weight, which is negative for those to keep away from."""
    hard: tuple[Constraint, ...] = ()
    soft: tuple[Constraint, ...] = ()
    is_spread: bool = False
    """Whether it has constraints of its own, so that the cluster's defaults do not count."""


NONE = Terms()


def read(text: bytes) -> Terms:
    """The terms of a pod; `text` is the JSON of [namespace, labels, podAffinity, podAntiAffinity, constraints]."""
    namespace, labels, near, far, spread = orjson.loads(text)
    near, far, spread = near or {}, far or {}, spread or ()
    liked = [(_term(w.get("podAffinityTerm") or {}, namespace, labels), int(w["weight"])) for w in _listed(near)]
    liked += [(_term(w.get("podAffinityTerm") or {}, namespace, labels), -int(w["weight"])) for w in _listed(far)]
    return Terms(
        near=tuple(_term(term, namespace, labels) for term in near.get(_REQUIRED) or ()),
        far=tuple(_term(term, namespace, labels) for term in far.get(_REQUIRED) or ()),
        liked=tuple(liked),
        hard=tuple(constraint(c, namespace, labels) for c in spread if c.get("whenUnsatisfiable") == "DoNotSchedule"),
        soft=tuple(constraint(c, namespace, labels) for c in spread if c.get("whenUnsatisfiable") != "DoNotSchedule"),
        is_spread=bool(spread),
    )


def constraint(tree: Tree, namespace: str, labels: Labels) -> Constraint:
    """One of topologySpreadConstraints."""
    key = str(tree["topologyKey"])
    selector = _with_keys(selectors.from_label_selector(tree.get("labelSelector")), tree, labels)
    return Constraint(
        key=key,
        skew=int(tree.get("maxSkew") or 1),
        term=Term("", selector, frozenset((namespace,))),
        min_domains=int(tree.get("minDomains") or 1),
        honors_affinity=tree.get("nodeAffinityPolicy") != "Ignore",
        honors_taints=tree.get("nodeTaintsPolicy") == "Honor",
    )


def _listed(affinity: Tree) -> Iterable[Any]:
    return affinity.get(_PREFERRED) or ()


def _term(tree: Tree, namespace: str, labels: Labels) -> Term:
    chosen = tree.get("namespaceSelector")
    named = frozenset(tree.get("namespaces") or ())
    if chosen is None and not named:
        named = frozenset((namespace,))
    selector = _with_keys(selectors.from_label_selector(tree.get("labelSelector")), tree, labels)
    by_labels = selectors.from_label_selector(chosen) if chosen is not None else None
    return Term(str(tree.get("topologyKey") or ""), selector, named, by_labels)


def _with_keys(selector: Selector, tree: Tree, labels: Labels) -> Selector:
    """The selector and what matchLabelKeys and mismatchLabelKeys add to it from the pod's own labels."""
    if selector.nothing:
        return selector
    added = [Requirement(k, "in", (labels[k],)) for k in tree.get("matchLabelKeys") or () if k in labels]
    added += [Requirement(k, "notin", (labels[k],)) for k in tree.get("mismatchLabelKeys") or () if k in labels]
    new = [requirement for requirement in added if requirement not in selector.requirements]
    return Selector((*selector.requirements, *new)) if new else selector
