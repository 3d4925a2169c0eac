"""Cycle: one pod, one snapshot, one decision: the node that suits best, or why none does. Pure.

It is taken in steps, between which the snapshot must stay as it is.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.control import steps
from sampan.scheduling import extending, memory, node_terms, preemption, ranking
from sampan.scheduling.extending import Extender
from sampan.scheduling.framework import Extra, Judge, Sight, normalised
from sampan.scheduling.preemption import Budget, Outcome
from sampan.scheduling.profile import DEFAULT, Profile
from sampan.scheduling.ranking import Group, Ranking
from sampan.scheduling.steps import Steps
from sampan.scheduling.trial import Trial
from sampan.scheduling.verdict import Demand, Snapshot, Verdict

NO_NODES = "no nodes available to schedule pods"
NO_CLAIMS = "no new claims to deallocate"
"""What the search for devices to take back says of a pod that claims none."""
ELSEWHERE = Verdict("NodeAffinity", ("node(s) didn't satisfy plugin(s) [NodeAffinity]",))
CHUNK = 128
"""Of so many nodes at a time extras are asked."""

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
    """On which terms it is decided: the plugins, those with knowledge of other objects, disruption budgets, extenders."""

    profile: Profile = DEFAULT
    extras: Sequence[Extra] = ()
    budgets: Sequence[Budget] = ()
    extenders: Sequence[Extender] = ()

    def about(self, pod: Demand) -> "Terms":
        """The same with only those that have anything to say about the pod."""
        if not self.extras and not self.extenders:
            return self
        enabled = self.profile.enabled
        extras = [each for each in self.extras if not enabled.isdisjoint(each.names) and each.is_concerned(pod)]
        extenders = [each for each in self.extenders if each.is_interested(pod)]
        return Terms(self.profile, extras, self.budgets, extenders)

    @property
    def is_plain(self) -> bool:
        """Whether only the snapshot decides."""
        return not self.extras and not self.extenders


def decide(pod: Demand, snapshot: Snapshot, terms: Terms | None = None) -> Decision:
    """The best node; among equals they take turns. Only the snapshot's notes and turn change."""
    return steps.run(begin(pod, snapshot, terms or Terms()))


def begin(pod: Demand, snapshot: Snapshot, terms: Terms) -> Steps[Decision]:
    """The same in steps. Raises ExtenderError, FailureError."""
    if not len(snapshot):
        return Decision(message=NO_NODES)
    terms = terms.about(pod)
    for extra in terms.extras:
        if (verdict := extra.refuse(pod)) is not None:
            return (yield from _fail(pod, snapshot, terms, (verdict.reasons[0], [verdict] * len(snapshot), ())))
    if terms.is_plain and (named := node_terms.of(pod).names()) is not None and len(named) == 1:
        found = yield from _of_named(pod, next(iter(named)), snapshot, terms)
        if found is not None:
            return found
    rank = yield from memory.of(snapshot).ranking(pod, snapshot, terms.profile)
    if terms.is_plain and (known := _known_failure(pod, rank, snapshot, terms)) is not None:
        return known
    refused: dict[int, Verdict] = {}
    for extra in terms.extras:
        yield from _refuse(pod, extra, rank, snapshot, refused)
    if snapshot.nominated:
        refused |= _crowded(pod, rank, refused, snapshot, terms)
    groups = _left(rank, refused)
    if terms.extenders:
        yield from _extend(pod, rank, groups, snapshot, (terms, refused))
        groups = _left(rank, refused)
    if not groups:
        return (yield from _explain(pod, rank, refused, snapshot, terms))
    chosen = yield from _choose(pod, rank, groups, snapshot, terms)
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


def _of_named(pod: Demand, name: str, snapshot: Snapshot, terms: Terms) -> Steps[Decision | None]:
    """For a pod that can only be on one node, as those of daemons, the others need not be looked at."""
    judges = [judge for judge, _ in memory.judges_of(pod, snapshot, terms.profile)]
    at = snapshot.index.get(name)
    if any(judge.filters for judge in judges) or (at is not None and snapshot.names[at] in snapshot.nominated):
        return None
    verdicts = [ELSEWHERE] * len(snapshot)
    if at is not None:
        found = ranking.verdicts(pod, (at,), snapshot, terms.profile)
        if not found:
            return Decision(snapshot.names[at])
        verdicts[at] = found[at]
    return (yield from _fail(pod, snapshot, terms, ("", verdicts, ())))


def _refuse(pod: Demand, extra: Extra, rank: Ranking, snapshot: Snapshot, refused: dict[int, Verdict]) -> Steps[None]:
    """Adds the nodes that are refused for what other objects say."""
    left = sorted(n for group in rank.groups.values() for n in group.nodes() if n not in refused)
    for start in range(0, len(left), CHUNK):
        nodes = left[start : start + CHUNK]
        yield from extra.ready(pod, nodes, snapshot)
        verdicts = extra.filter(pod, nodes, snapshot)
        refused.update((n, verdict) for n, verdict in zip(nodes, verdicts, strict=True) if verdict is not None)
        yield


def _crowded(pod: Demand, rank: Ranking, refused: Refused, snapshot: Snapshot, terms: Terms) -> dict[int, Verdict]:
    """Nodes that are full when those pods come that wait for room there and are no less important."""
    found: dict[int, Verdict] = {}
    for name, waiting in snapshot.nominated.items():
        at = snapshot.index.get(name)
        if at is None or at in refused or rank.survey.verdicts[at] is not None:
            continue
        first = [other for other in waiting.values() if other.uid != pod.uid and other.priority >= pod.priority]
        if not first:
            continue
        trial = Trial(pod, at, snapshot, _judges(rank), terms.extras)
        for other in first:
            trial.add(other)
        verdict = trial.verdict(terms.profile)
        if verdict is not None:
            found[at] = verdict
    return found


def _left(rank: Ranking, refused: Refused) -> list[Group]:
    """The nodes that nobody refuses."""
    groups = list(rank.groups.values())
    if refused:
        groups = [left for group in groups if (left := group.without(refused)).size]
    if rank.judges:
        verdicts = _judged(rank, groups)
        groups = [group for group, verdict in zip(groups, verdicts, strict=True) if verdict is None]
    return groups


def _extend(
    pod: Demand, rank: Ranking, groups: Sequence[Group], snapshot: Snapshot, so_far: tuple[Terms, dict[int, Verdict]]
) -> Steps[None]:
    """Adds the nodes that extenders refuse, each of which sees what those before it have left."""
    terms, refused = so_far
    left = sorted(n for group in groups for n in group.nodes())
    for extender in terms.extenders:
        if not extender.filter_verb or not left:
            continue
        names = [snapshot.names[n] for n in left]
        verdicts = yield from extending.filtered(extender, pod, names)
        refused.update((snapshot.index[name], verdict) for name, verdict in verdicts.items())
        left = [n for n in left if n not in refused]


def _choose(pod: Demand, rank: Ranking, groups: Sequence[Group], snapshot: Snapshot, terms: Terms) -> Steps[int]:
    awaited = snapshot.index.get(snapshot.nominations.get(pod.uid, ""))
    if awaited is not None and any(_holds(group, awaited, rank) for group in groups):
        return awaited
    totals = _totals(rank, groups, snapshot)
    asked = [each for each in terms.extenders if each.prioritize_verb]
    points = _extra_points(pod, groups, snapshot, terms.extras) if terms.extras else {}
    if (asked or points) and sum(group.size for group in groups) > 1:
        nodes = yield from _liked(pod, rank, list(zip(groups, totals, strict=True)), snapshot, (points, asked))
    else:
        best = max(totals)
        nodes = [group.next(snapshot.last) for group, total in zip(groups, totals, strict=True) if total == best]
    later = [n for n in nodes if n > snapshot.last]
    return min(later or nodes)


def _extra_points(
    pod: Demand, groups: Sequence[Group], snapshot: Snapshot, extras: Sequence[Extra]
) -> Mapping[int, int]:
    """What those that know other objects like, where they like anything more than other things."""
    points = Counter[int]()
    nodes = sorted(n for group in groups for n in group.nodes())
    for extra in extras:
        if (raw := extra.score(pod, nodes, snapshot)) is not None:
            points.update(dict(zip(nodes, normalised(raw), strict=True)))
    return points


def _liked(
    pod: Demand,
    rank: Ranking,
    totals: Sequence[tuple[Group, int]],
    snapshot: Snapshot,
    others: tuple[Mapping[int, int], Sequence[Extender]],
) -> Steps[list[int]]:
    """The best nodes, when others have had their say: points that are known, and extenders."""
    own, (known, extenders) = rank.survey.own, others
    scores = {n: total - group.best + own[n] + known.get(n, 0) for group, total in totals for n in group.nodes()}
    names = [snapshot.names[n] for n in sorted(scores)]
    for extender in extenders:
        found = yield from extending.points(extender, pod, names)
        for name, points in found.items():
            if (n := snapshot.index.get(name)) in scores:
                scores[n] += points
    best = max(scores.values())
    return [n for n, score in scores.items() if score == best]


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


def _explain(pod: Demand, rank: Ranking, refused: Refused, snapshot: Snapshot, terms: Terms) -> Steps[Decision]:
    """Why no node fits, and what could be done about it."""
    groups = list(rank.groups.values())
    verdicts = list(rank.survey.verdicts)
    for group, verdict in zip(groups, _judged(rank, groups), strict=True):
        for n in group.nodes():
            verdicts[n] = refused.get(n, verdict)
    decision = yield from _fail(pod, snapshot, terms, ("", verdicts, _judges(rank)))
    if pod.uid not in snapshot.nominations and terms.is_plain:
        rank.failure = (_circumstances(pod, snapshot, terms), decision)
    return decision


def _fail(
    pod: Demand, snapshot: Snapshot, terms: Terms, why: tuple[str, Sequence[Verdict | None], Sequence[Judge]]
) -> Steps[Decision]:
    """No node: for one reason, or for those of each node. Others may have to make room."""
    reason, verdicts, judges = why
    if not reason:
        reason = listed(Counter(each for verdict in verdicts if verdict for each in verdict.reasons))
    outcome = Outcome()
    if terms.profile.preempts:
        circumstances = preemption.Circumstances(terms.profile, judges, terms.budgets, terms.extras, terms.extenders)
        search = preemption.Search(pod, snapshot, circumstances)
        outcome = yield from search.run((yield from _beyond_help(pod, verdicts, snapshot, terms.extras)))
    remedy = next((said for extra in terms.extras if (said := extra.remedy(pod))), NO_CLAIMS)
    notes = f" {remedy}, preemption: {outcome.message}" if outcome.message else ""
    message = f"{preemption.none_of(snapshot)}: {reason}.{notes}"
    return Decision("", message, frozenset(v.plugin for v in verdicts if v is not None), outcome)


def _beyond_help(
    pod: Demand, verdicts: Sequence[Verdict | None], snapshot: Snapshot, extras: Sequence[Extra]
) -> Steps[Sequence[Verdict | None]]:
    """The verdicts; those of the extras where room alone would not help."""
    found = list(verdicts)
    for extra in extras:
        left = [n for n, verdict in enumerate(found) if verdict is not None and not verdict.is_final]
        for start in range(0, len(left), CHUNK):
            nodes = left[start : start + CHUNK]
            yield from extra.ready(pod, nodes, snapshot)
            for n, verdict in zip(nodes, extra.filter(pod, nodes, snapshot), strict=True):
                found[n] = verdict if verdict is not None and verdict.is_final else found[n]
            yield
    return found


listed = preemption.listed
