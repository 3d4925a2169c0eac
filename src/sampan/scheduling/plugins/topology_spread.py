"""Pods are spread over domains: those that say how, as they say; those of one controller or service over nodes and zones.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log
from typing import Any

from sampan.meta import selectors
from sampan.scheduling import node_terms, terms, tolerations
from sampan.scheduling.facet import Counted, Facet
from sampan.scheduling.framework import MAX_SCORE, FieldPlugin, Sight
from sampan.scheduling.tallies import Tally
from sampan.scheduling.terms import HOSTNAME, ZONE, Constraint, Term
from sampan.scheduling.verdict import Demand, Snapshot, Verdict

NAME = "PodTopologySpread"
UNEVEN = Verdict(NAME, ("node(s) didn't match pod topology spread constraints",), is_final=False)
UNLABELLED = Verdict(NAME, ("node(s) didn't match pod topology spread constraints (missing required label)",))

SYSTEM = tuple(
    terms.constraint({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "ScheduleAnyway"}, "", {})
    for key, skew in ((HOSTNAME, 3), (ZONE, 5))
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What counts for pods that say nothing; `is_strict` when nodes must have the labels of all topologies."""

    hard: tuple[Constraint, ...] = ()
    soft: tuple[Constraint, ...] = SYSTEM
    is_strict: bool = False


@dataclass(frozen=True)
class Spread:
    """What spreading says about one pod. The hard constraints' facets come first."""

    hard: tuple[tuple[int, int], ...]
    """For each: how far apart domains may be, and whether the pod itself counts."""
    soft: tuple[Constraint, ...]
    is_strict: bool
    inclusion: bytes
    """What decides which nodes count."""
    identities: tuple[Any, ...]
    facets: Sequence[Facet] = field(compare=False)

    @property
    def filters(self) -> bool:
        """Whether it may refuse nodes at all."""
        return bool(self.hard)

    def filter(self, counts: Sequence[int | None], extents: Sequence[int]) -> Verdict | None:
        """No domain would be ahead of the emptiest one by more than maxSkew."""
        for (skew, itself), count, fewest in zip(self.hard, counts, extents, strict=False):
            if count is None:
                return UNLABELLED
            if count + itself - fewest > skew:
                return UNEVEN
        return None

    def score(self, sights: Sequence[Sight]) -> Sequence[int] | None:
        """The less crowded the node's domains are, the better; each pod counts more where there are more domains."""
        if not self.soft:
            return None
        first = len(self.hard)
        ignored = [self.is_strict and None in sight.counts[first:] for sight in sights]
        kept = [sight for sight, out in zip(sights, ignored, strict=True) if not out]
        weights = [self._weight(each, first + at, kept) for at, each in enumerate(self.soft)]
        crowds = [0 if out else self._crowd(s, weights) for s, out in zip(sights, ignored, strict=True)]
        seen = [crowd for crowd, out in zip(crowds, ignored, strict=True) if not out]
        low, high = min(seen, default=0), max(seen, default=0)
        if not high:
            return [0 if out else MAX_SCORE for out in ignored]
        return [
            0 if out else MAX_SCORE * (high + low - crowd) // high for crowd, out in zip(crowds, ignored, strict=True)
        ]

    def _weight(self, constraint: Constraint, at: int, sights: Sequence[Sight]) -> float:
        if constraint.key == HOSTNAME:
            return log(sum(sight.size for sight in sights) + 2)
        return log(len({sight.values[at] for sight in sights}) + 2)

    def _crowd(self, sight: Sight, weights: Sequence[float]) -> int:
        total = 0.0
        for constraint, count, weight in zip(self.soft, sight.counts[len(self.hard) :], weights, strict=True):
            if count is not None:
                total += count * weight + (constraint.skew - 1)
        return floor(total + 0.5)


def plugin(args: Mapping[str, Any], filters: bool) -> FieldPlugin:
    """`defaultConstraints` and `defaultingType` are its arguments; `filters` is False where it only scores."""
    defaults = _defaults(args)

    def judge(pod: Demand, snapshot: Snapshot) -> Spread | None:
        own = pod.terms
        if own.is_spread:
            hard, soft, is_strict = own.hard, own.soft, True
            tally: Tally | None = None
        else:
            hard, soft, is_strict = defaults.hard, defaults.soft, defaults.is_strict
            if not hard and not soft:
                return None
            tally = _related(pod, snapshot)
            if tally is None:
                return None
        hard = hard if filters else ()
        return _spread(pod, snapshot, (hard, soft), tally, is_strict) if hard or soft else None

    return judge


def _defaults(args: Mapping[str, Any]) -> Defaults:
    if args.get("defaultingType", "System") != "List":
        return Defaults()
    listed = args.get("defaultConstraints") or ()
    hard = [c for c in listed if c.get("whenUnsatisfiable") == "DoNotSchedule"]
    soft = [c for c in listed if c.get("whenUnsatisfiable") != "DoNotSchedule"]
    made = [tuple(terms.constraint(c, "", {}) for c in some) for some in (hard, soft)]
    return Defaults(made[0], made[1], is_strict=True)


def _related(pod: Demand, snapshot: Snapshot) -> Tally | None:
    """The pods of the same controller, else those that all its services select; None when there are neither."""
    if pod.owner:
        return snapshot.tallies.owned(pod.owner)
    services = snapshot.services.get(pod.namespace)
    if not services:
        return None
    merged: dict[str, str] = {}
    for _, selector in sorted(services.items()):
        if all(pod.labels.get(key) == value for key, value in selector.items()):
            merged |= selector
    if not merged:
        return None
    term = Term("", selectors.from_map(merged), frozenset((pod.namespace,)))
    return snapshot.tallies.selecting((term,), living=True)


def _spread(
    pod: Demand,
    snapshot: Snapshot,
    constraints: tuple[tuple[Constraint, ...], tuple[Constraint, ...]],
    tally: Tally | None,
    is_strict: bool,
) -> Spread:
    hard, soft = constraints
    facets: list[Facet] = []
    for some, is_hard in ((hard, True), (soft, False)):
        keys = tuple(c.key for c in some) if is_hard or is_strict else ()
        for constraint in some:
            facet = _facet(constraint, tally or _selected(constraint, snapshot), is_hard)
            facet.counted = _inclusion(constraint, pod, keys)
            facets.append(facet)
    itself = [int(tally is not None or _means(c, pod)) for c in hard]
    return Spread(
        hard=tuple((c.skew, i) for c, i in zip(hard, itself, strict=True)),
        soft=soft,
        is_strict=is_strict,
        inclusion=repr([(c.key, c.honors_affinity, c.honors_taints) for c in (*hard, *soft)]).encode(),
        identities=tuple(facet.identity for facet in facets),
        facets=facets,
    )


def _facet(constraint: Constraint, tally: Tally, is_hard: bool) -> Facet:
    is_host = constraint.key == HOSTNAME
    if is_hard:
        show, extent = ("count" if is_host else "domain"), "fewest"
        return Facet(constraint.key, ((tally, 1),), show, extent, constraint.min_domains)  # type: ignore[arg-type]
    return Facet(constraint.key, ((tally, 1),), "own" if is_host else "domain")


def _selected(constraint: Constraint, snapshot: Snapshot) -> Tally:
    return snapshot.tallies.selecting((constraint.term,), living=True)


def _means(constraint: Constraint, pod: Demand) -> bool:
    return constraint.term.selector.matches(pod.labels)


def _inclusion(constraint: Constraint, pod: Demand, keys: tuple[str, ...]) -> Counted | None:
    """Pods count on nodes that have all topologies and where, as far as it is honoured, the pod could be."""
    wanted = node_terms.of(pod)
    honors_affinity = constraint.honors_affinity and not wanted.is_indifferent
    others = tuple(key for key in keys if key != constraint.key)
    if not honors_affinity and not constraint.honors_taints and not others:
        return None
    accepted = pod.spec.get("tolerations") or ()

    def counted(n: int, snapshot: Snapshot) -> bool:
        labels = snapshot.labels[n]
        if any(key not in labels for key in others):
            return False
        if honors_affinity and not wanted.matches(snapshot.names[n], labels):
            return False
        return not constraint.honors_taints or tolerations.tolerate_node(accepted, snapshot.specs[n])

    return counted
