"""Pods that want to be near others, or not: what a pod says itself, and what the pods that are there say about it.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduling.facet import Extent, Facet
from sampan.scheduling.framework import MAX_SCORE, FieldPlugin, Sight
from sampan.scheduling.tallies import FAR, LIKED, NEAR, Selecting, Tally
from sampan.scheduling.terms import HOSTNAME, Term
from sampan.scheduling.verdict import Demand, Snapshot, Verdict

NAME = "InterPodAffinity"
TOO_FAR = Verdict(NAME, ("node(s) didn't match pod affinity rules",))
TOO_NEAR = Verdict(NAME, ("node(s) didn't match pod anti-affinity rules",), is_final=False)
UNWANTED = Verdict(NAME, ("node(s) didn't satisfy existing pods anti-affinity rules",), is_final=False)

Weighed = dict[str, list[tuple[Tally, int]]]  # by topology key


@dataclass(frozen=True)
class Affinity:
    """What affinity says about one pod. Facets: whom it wants near, whom it shuns, who shuns it, likes."""

    sizes: tuple[int, int, int, int]
    starts_group: bool
    """Whether it may be the first of those that it wants near."""
    identities: tuple[Any, ...]
    facets: Sequence[Facet] = field(compare=False)

    @property
    def filters(self) -> bool:
        """Whether it may refuse nodes at all."""
        return any(self.sizes[:3])

    def filter(self, counts: Sequence[int | None], extents: Sequence[int]) -> Verdict | None:
        """Every required term holds, and so do those of the pods that are there already."""
        near, far, closed, _ = self.sizes
        if near and not self._gathers(counts[:near], extents[:near]):
            return TOO_FAR
        if any(counts[near : near + far]):
            return TOO_NEAR
        return UNWANTED if any(counts[near + far : near + far + closed]) else None

    def score(self, sights: Sequence[Sight]) -> Sequence[int] | None:
        """In proportion to the weights of the terms that hold there, of both sides."""
        liked = self.sizes[3]
        if not liked:
            return None
        raw = [sum(count for count in sight.counts[-liked:] if count) for sight in sights]
        low, high = min(raw), max(raw)
        if low == high:
            return None
        return [int(MAX_SCORE * ((each - low) / (high - low))) for each in raw]

    def _gathers(self, counts: Sequence[int | None], extents: Sequence[int]) -> bool:
        if any(count is None for count in counts):
            return False
        return all(counts) or (self.starts_group and not any(extents))


def plugin(args: Mapping[str, Any], filters: bool) -> FieldPlugin:
    """`hardPodAffinityWeight` and `ignorePreferredTermsOfExistingPods` are its arguments."""
    given = args.get("hardPodAffinityWeight")
    hard_weight = 1 if given is None else int(given)
    ignores = bool(args.get("ignorePreferredTermsOfExistingPods"))

    def judge(pod: Demand, snapshot: Snapshot) -> Affinity | None:
        if not pod.has_terms and not snapshot.tallies.bearing:
            return None
        near, far, closed = _required(pod, snapshot) if filters else ({}, {}, {})
        liked: Weighed = {}
        if pod.terms.liked or not ignores:
            liked = _liked(pod, snapshot, hard_weight)
        groups = (_facets(near, "total"), _facets(far), _facets(closed), _facets(liked))
        facets = [facet for group in groups for facet in group]
        if not facets:
            return None
        near_terms = pod.terms.near
        return Affinity(
            sizes=(len(groups[0]), len(groups[1]), len(groups[2]), len(groups[3])),
            starts_group=bool(near_terms) and all(_means(term, pod, snapshot) for term in near_terms),
            identities=tuple(facet.identity for facet in facets),
            facets=facets,
        )

    return judge


def _required(pod: Demand, snapshot: Snapshot) -> tuple[Weighed, Weighed, Weighed]:
    near: Weighed = {}
    far: Weighed = {}
    closed: Weighed = {}
    wanted = pod.terms.near
    if wanted:  # only a pod that all terms mean counts, for each of their topologies
        together = _selecting(wanted, snapshot)
        for term in wanted:
            near[term.key] = [(together, 1)]
    for term in pod.terms.far:
        far.setdefault(term.key, []).append((_selecting((term,), snapshot), 1))
    for (role, _, term), tally in snapshot.tallies.bearing.items():
        if role == FAR and _means(term, pod, snapshot):
            closed.setdefault(term.key, []).append((tally, 1))
    return near, far, closed


def _liked(pod: Demand, snapshot: Snapshot, hard_weight: int) -> Weighed:
    found: Weighed = {}
    for term, weight in pod.terms.liked:
        found.setdefault(term.key, []).append((_selecting((term,), snapshot), weight))
    for (role, weight, term), tally in snapshot.tallies.bearing.items():
        counts = weight if role == LIKED else hard_weight if role == NEAR else 0
        if counts and _means(term, pod, snapshot):
            found.setdefault(term.key, []).append((tally, counts))
    return found


def _facets(weighed: Weighed, extent: Extent = "") -> list[Facet]:
    return [
        Facet(key, tuple(parts), "count" if key == HOSTNAME else "domain", extent) for key, parts in _sorted(weighed)
    ]


def _sorted(weighed: Weighed) -> Iterable[tuple[str, list[tuple[Tally, int]]]]:
    return sorted(weighed.items(), key=lambda each: each[0])


def _selecting(terms: tuple[Term, ...], snapshot: Snapshot) -> Selecting:
    """The same pods in any topology are one tally."""
    bare = tuple(Term("", term.selector, term.namespaces, term.namespace_selector) for term in terms)
    return snapshot.tallies.selecting(bare, living=False)


def _means(term: Term, pod: Demand, snapshot: Snapshot) -> bool:
    return term.means(pod.namespace, pod.labels, snapshot.tallies.namespaces)
