"""Cycle: one pod, one snapshot, one decision: the node that suits best, or why none does. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduling import memory, node_terms, preemption, ranking
from sampan.scheduling.framework import Extra, Judge, Sight
from sampan.scheduling.preemption import Budget, Outcome
from sampan.scheduling.profile import DEFAULT, Profile
from sampan.scheduling.ranking import Group, Ranking
from sampan.scheduling.trial import Trial
from sampan.scheduling.verdict import Demand, Snapshot, Verdict

NO_NODES = "no nodes available to schedule pods"
NO_CLAIMS = "no new claims to deallocate"
"""What the search for devices to take back says of a pod that claims none."""
ELSEWHERE = Verdict("NodeAffinity", ("node(s) didn't satisfy plugin(s) [NodeAffinity]",))

Refused = Mapping[int, Verdict]


@dataclass(frozen=True, slots=True)
class Decision:
    """`node` is the choice; when it is "", `message` says why there is none, and `refusers` which plugins say so.

    Then pods that are in the way may be pushed out: `outcome` says which.
    """

    node: str = ""
    message: str = ""
    refusers: frozenset[str] = frozenset()
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms it is decided: the plugins, those with knowledge of other objects, and disruption budgets."""

    profile: Profile = DEFAULT
    extras: Sequence[Extra] = ()
    budgets: Sequence[Budget] = ()


def decide(pod: Demand, snapshot: Snapshot, terms: Terms | None = None) -> Decision:
    """The best node; among equals they take turns. Only the snapshot's notes and turn change."""
    terms = terms or Terms()
    if not len(snapshot):
        return Decision(message=NO_NODES)
    extras = [extra for extra in terms.extras if extra.is_concerned(pod)]
    for extra in extras:
        if (verdict := extra.refuse(pod)) is not None:
            return _fail(pod, snapshot, terms, (verdict.reasons[0], [verdict] * len(snapshot), ()))
    if not extras and (found := _of_named(pod, snapshot, terms)) is not None:
        return found
    rank = memory.of(snapshot).ranking(pod, snapshot, terms.profile)
    if not extras and (known := _known_failure(pod, rank, snapshot, terms)) is not None:
        return known
    refused = _refused(pod, rank, snapshot, extras)
    refused |= _crowded(pod, rank, refused, snapshot, terms.profile)
    chosen = _choose(pod, rank, refused, snapshot)
    if chosen is None:
        return _explain(pod, rank, refused, snapshot, terms)
    snapshot.last = chosen
    return Decision(snapshot.names[chosen])


def _known_failure(pod: Demand, rank: Ranking, snapshot: Snapshot, terms: Terms) -> Decision | None:
    """What was found out for a pod like this one, if nothing has changed since and nobody makes room."""
    if rank.failure is None or rank.failure[0] != _circumstances(pod, snapshot, terms):
        return None
    found: Decision = rank.failure[1]
    return None if found.outcome.node or pod.uid in snapshot.nominations else found


def _circumstances(pod: Demand, snapshot: Snapshot, terms: Terms) -> tuple[Any, ...]:
    return (snapshot.version, pod.priority, pod.spec.get("preemptionPolicy"), terms.budgets)


def _of_named(pod: Demand, snapshot: Snapshot, terms: Terms) -> Decision | None:
    """For a pod that can only be on one node, as those of daemons, the others need not be looked at."""
    named = node_terms.of(pod).names()
    if named is None or len(named) != 1:
        return None
    judges = [judge for judge, _ in memory.judges_of(pod, snapshot, terms.profile)]
    at = snapshot.index.get(next(iter(named)))
    if any(judge.filters for judge in judges) or (at is not None and snapshot.names[at] in snapshot.nominated):
        return None
    verdicts = [ELSEWHERE] * len(snapshot)
    if at is not None:
        found = ranking.verdicts(pod, (at,), snapshot, terms.profile)
        if not found:
            return Decision(snapshot.names[at])
        verdicts[at] = found[at]
    return _fail(pod, snapshot, terms, ("", verdicts, ()))


def _refused(pod: Demand, rank: Ranking, snapshot: Snapshot, extras: Sequence[Extra]) -> dict[int, Verdict]:
    """Nodes that are refused for what other objects say."""
    found: dict[int, Verdict] = {}
    for extra in extras:
        left = sorted(n for group in rank.groups.values() for n in group.nodes() if n not in found)
        verdicts = extra.filter(pod, left, snapshot)
        found.update((n, verdict) for n, verdict in zip(left, verdicts, strict=True) if verdict is not None)
    return found


def _crowded(pod: Demand, rank: Ranking, refused: Refused, snapshot: Snapshot, profile: Profile) -> dict[int, Verdict]:
    """Nodes that are full when those pods come that wait for room there and are no less important."""
    found: dict[int, Verdict] = {}
    for name, waiting in snapshot.nominated.items():
        at = snapshot.index.get(name)
        if at is None or at in refused or rank.survey.verdicts[at] is not None:
            continue
        first = [other for other in waiting.values() if other.uid != pod.uid and other.priority >= pod.priority]
        if not first:
            continue
        trial = Trial(pod, at, snapshot, _judges(rank))
        for other in first:
            trial.add(other)
        verdict = trial.verdict(profile)
        if verdict is not None:
            found[at] = verdict
    return found


def _choose(pod: Demand, rank: Ranking, refused: Refused, snapshot: Snapshot) -> int | None:
    groups = list(rank.groups.values())
    if refused:
        groups = [left for group in groups if (left := group.without(refused)).size]
    if rank.judges:
        verdicts = _judged(rank, groups)
        groups = [group for group, verdict in zip(groups, verdicts, strict=True) if verdict is None]
    if not groups:
        return None
    awaited = snapshot.index.get(snapshot.nominations.get(pod.uid, ""))
    if awaited is not None and any(_holds(group, awaited, rank) for group in groups):
        return awaited
    totals = _totals(rank, groups, snapshot)
    best = max(totals)
    nodes = [group.next(snapshot.last) for group, total in zip(groups, totals, strict=True) if total == best]
    later = [n for n in nodes if n > snapshot.last]
    return min(later or nodes)


def _holds(group: Group, node: int, rank: Ranking) -> bool:
    return node in group.buckets.get(rank.survey.own[node], ())


def _judges(rank: Ranking) -> list[Judge]:
    return [judge for judge, _ in rank.judges]


def _judged(rank: Ranking, groups: Sequence[Group]) -> list[Verdict | None]:
    """What the judges say of each group; the first refusal counts."""
    found: list[Verdict | None] = [None] * len(groups)
    start = -len(rank.facets)
    for judge, _ in rank.judges:
        end = start + len(judge.facets)
        if judge.filters:
            extents = [facet.extent() for facet in judge.facets]
            for at, group in enumerate(groups):
                if found[at] is None:
                    values = group.key[start : end or None]
                    counts = [facet.count(v) for facet, v in zip(judge.facets, values, strict=True)]
                    found[at] = judge.filter(counts, extents)
        start = end
    return found


def _totals(rank: Ranking, groups: Sequence[Group], snapshot: Snapshot) -> list[int]:
    """The best total score of a node of each group."""
    totals = [group.best for group in groups]
    if len(groups) == 1:
        return totals
    for at, (_, weigh, weight) in enumerate(rank.survey.profile.signs):
        signs = [group.key[at] for group in groups]
        if len(set(signs)) > 1:
            scores = weigh(signs, snapshot)
            totals = [total + weight * score for total, score in zip(totals, scores, strict=True)]
    start = -len(rank.facets)
    for judge, weight in rank.judges:
        end = start + len(judge.facets)
        if weight:
            scores = judge.score([_sight(group, judge, group.key[start : end or None]) for group in groups]) or ()
            totals = [t + weight * s for t, s in zip(totals, scores, strict=True)] if scores else totals
        start = end
    return totals


def _sight(group: Group, judge: Judge, values: tuple[Any, ...]) -> Sight:
    counts = tuple(facet.count(value) for facet, value in zip(judge.facets, values, strict=True))
    return Sight(values, counts, group.size)


def _explain(pod: Demand, rank: Ranking, refused: Refused, snapshot: Snapshot, terms: Terms) -> Decision:
    """Why no node fits, and what could be done about it."""
    groups = list(rank.groups.values())
    verdicts = list(rank.survey.verdicts)
    for group, verdict in zip(groups, _judged(rank, groups), strict=True):
        for n in group.nodes():
            verdicts[n] = refused.get(n, verdict)
    decision = _fail(pod, snapshot, terms, ("", verdicts, _judges(rank)))
    if pod.uid not in snapshot.nominations and not any(extra.is_concerned(pod) for extra in terms.extras):
        rank.failure = (_circumstances(pod, snapshot, terms), decision)
    return decision


def _fail(
    pod: Demand, snapshot: Snapshot, terms: Terms, why: tuple[str, Sequence[Verdict | None], Sequence[Judge]]
) -> Decision:
    """No node: for one reason, or for those of each node. Others may have to make room."""
    reason, verdicts, judges = why
    if not reason:
        reason = listed(Counter(each for verdict in verdicts if verdict for each in verdict.reasons))
    outcome = Outcome()
    if terms.profile.preempts:
        search = preemption.Search(pod, snapshot, terms.profile, judges, terms.budgets)
        outcome = search.run(_beyond_help(pod, verdicts, snapshot, terms.extras))
    notes = f" {NO_CLAIMS}, preemption: {outcome.message}" if outcome.message else ""
    message = f"{preemption.none_of(snapshot)}: {reason}.{notes}"
    return Decision("", message, frozenset(v.plugin for v in verdicts if v is not None), outcome)


def _beyond_help(
    pod: Demand, verdicts: Sequence[Verdict | None], snapshot: Snapshot, extras: Sequence[Extra]
) -> Sequence[Verdict | None]:
    """The verdicts; those of the extras where room alone would not help."""
    found = list(verdicts)
    for extra in extras:
        left = [n for n, verdict in enumerate(found) if verdict is not None and not verdict.is_final]
        if left and extra.is_concerned(pod):
            for n, verdict in zip(left, extra.filter(pod, left, snapshot), strict=True):
                found[n] = verdict if verdict is not None and verdict.is_final else found[n]
    return found


listed = preemption.listed
