"""Preemption: which pods of lower priority to push out, so that a pod fits that fits nowhere. Pure.

On every node where it may help all pods of lower priority are thought away; as many as possible stay, first
those whose disruption budgets would be violated, the more important ones first. The node is taken where the least
is lost.

https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.meta import conditions, objects, selectors
from sampan.meta.selectors import Selector
from sampan.scheduling import extending
from sampan.scheduling.extending import Extender, Victims
from sampan.scheduling.framework import Extra, Judge
from sampan.scheduling.profile import Profile
from sampan.scheduling.steps import Steps
from sampan.scheduling.trial import Trial
from sampan.scheduling.verdict import Demand, Snapshot, Verdict

NEVER = "not eligible due to preemptionPolicy=Never."
WAITING = "not eligible due to a terminating pod on the nominated node."
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_CANDIDATE = "no candidate node for preemption"
TARGET, BY_SCHEDULER = "DisruptionTarget", "PreemptionByScheduler"
SHIFT = 2**31  # makes every priority positive
MAX_TRIED = 250
"""After so many pods it gives way."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Budget:
    """How many of some pods may go; those of `disrupted` are on their way already."""

    namespace: str
    selector: Selector
    allowed: int
    disrupted: frozenset[str]

    def means(self, pod: Demand) -> bool:
        """Whether the pod's going would count."""
        if self.namespace != pod.namespace or self.selector.is_empty or objects.name(pod.pod) in self.disrupted:
            return False
        return bool(pod.labels) and self.selector.matches(pod.labels)


def budget(tree: Object) -> Budget:
    """That of a PodDisruptionBudget."""
    status = tree.get("status") or {}
    return Budget(
        objects.namespace(tree),
        selectors.from_label_selector((tree.get("spec") or {}).get("selector")),
        int(status.get("disruptionsAllowed") or 0),
        frozenset(status.get("disruptedPods") or ()),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The node on which there will be room once the victims are gone, or in `message` why there is none.

    `is_kept` says that a node which the pod waits for already stays as it is.
    """

    node: str = ""
    victims: tuple[Demand, ...] = ()
    message: str = ""
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """The victims on a node, the most important first, and how many violate a budget."""

    node: int
    victims: tuple[Demand, ...]
    violations: int

    def rank(self) -> tuple[int, int, int, int]:
        """The less, the better."""
        priorities = [victim.priority for victim in self.victims]
        return (self.violations, priorities[0], sum(p + SHIFT for p in priorities), len(priorities))

    def latest(self) -> str:
        """When the first of its most important victims started: the later, the better."""
        highest = self.victims[0].priority
        return min(_started(victim) for victim in self.victims if victim.priority == highest)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`judges` are what plugins say that look at other nodes too; extras and extenders are those that are concerned."""

    profile: Profile
    judges: Sequence[Judge] = ()
    budgets: Sequence[Budget] = ()
    extras: Sequence[Extra] = ()
    extenders: Sequence[Extender] = ()


class Search:
    """The search for one pod."""

    def __init__(self, pod: Demand, snapshot: Snapshot, around: Circumstances) -> None:
        self._pod, self._snapshot, self._around = pod, snapshot, around

    def run(self, verdicts: Sequence[Verdict | None]) -> Steps[Outcome]:
        """What to do, given why each node is refused. Raises ExtenderError."""
        if why := self._hindrance(verdicts):
            return Outcome(message=why, is_kept=True)
        nodes = [n for n, v in enumerate(verdicts) if v is not None and not v.is_final]
        found, reasons = yield from self._candidates(nodes)
        if not found:
            reasons[NOT_HELPFUL] = len(self._snapshot) - sum(reasons.values())
            return Outcome(message=f"{none_of(self._snapshot)}: {listed(+reasons)}.")
        found = yield from self._agreed(found)
        if not found:
            return Outcome(message=NO_CANDIDATE)
        best = _best(found)
        return Outcome(self._snapshot.names[best.node], best.victims)

    def _hindrance(self, verdicts: Sequence[Verdict | None]) -> str:
        """Why the pod may not push others out."""
        if self._pod.spec.get("preemptionPolicy") == "Never":
            return NEVER
        at = self._snapshot.index.get(self._snapshot.nominations.get(self._pod.uid, ""))
        if at is None:
            return ""
        verdict = verdicts[at]
        if verdict is not None and verdict.is_final:
            return ""
        there = self._snapshot.usage[at].pods.values()
        return WAITING if any(self._is_lower(p) and _is_going(p.pod) for p in there) else ""

    def _candidates(self, nodes: Sequence[int]) -> Steps[tuple[list[Candidate], Counter[str]]]:
        """Enough of them to choose from, from the node on whose turn it is; and why others are none."""
        snapshot, reasons = self._snapshot, Counter[str]()
        if not any(priority < self._pod.priority for priority in snapshot.priorities):
            reasons[NO_VICTIMS] = len(nodes)
            return [], reasons
        per_cent, least = self._around.profile.candidates
        wanted = max(len(nodes) * per_cent // 100, least)
        start = next((at for at, n in enumerate(nodes) if n > snapshot.last), 0)
        found: list[Candidate] = []
        tried = 0
        for n in (*nodes[start:], *nodes[:start]):
            candidate = self._on(n)
            if isinstance(candidate, Candidate):
                found.append(candidate)
                if len(found) >= wanted:
                    break
            else:
                reasons.update(candidate)
            tried += len(snapshot.usage[n].pods) + 1
            if tried >= MAX_TRIED:
                tried = 0
                yield
        return found, reasons

    def _agreed(self, found: list[Candidate]) -> Steps[list[Candidate]]:
        """The candidates that extenders leave, with the victims that they want."""
        asked = [each for each in self._around.extenders if each.preempt_verb]
        if not asked:
            return found
        names = self._snapshot.names
        victims = {names[each.node]: Victims(each.victims, each.violations) for each in found}
        for extender in asked:
            victims = yield from extending.narrowed(extender, self._pod, victims, self._snapshot)
            if not victims:
                break
        index = self._snapshot.index
        return [Candidate(index[name], each.pods, each.violations) for name, each in victims.items()]

    def _on(self, node: int) -> Candidate | Iterable[str]:
        """The fewest victims on a node, or why that does not help."""
        lower = [p for p in self._snapshot.usage[node].pods.values() if self._is_lower(p)]
        if not lower:
            return (NO_VICTIMS,)
        trial = Trial(self._pod, node, self._snapshot, self._around.judges, self._around.extras)
        for victim in lower:
            trial.remove(victim)
        for other in self._snapshot.nominated.get(self._snapshot.names[node], {}).values():
            if other.uid != self._pod.uid and other.priority >= self._pod.priority:
                trial.add(other)
        if (verdict := trial.verdict(self._around.profile)) is not None:
            return verdict.reasons
        violating, others = _by_budget(sorted(lower, key=_importance), self._around.budgets)
        kept_out = [victim for victim in violating if not self._stays(victim, trial)]
        victims = [*kept_out, *(victim for victim in others if not self._stays(victim, trial))]
        if not victims:
            return (NO_VICTIMS,)
        return Candidate(node, tuple(sorted(victims, key=_importance)), len(kept_out))

    def _stays(self, victim: Demand, trial: Trial) -> bool:
        """Whether there is room for it all the same; it is back then."""
        trial.add(victim)
        if trial.verdict(self._around.profile) is None:
            return True
        trial.remove(victim)
        return False

    def _is_lower(self, other: Demand) -> bool:
        return other.priority < self._pod.priority


def none_of(snapshot: Snapshot) -> str:
    """How such messages begin."""
    return f"0/{len(snapshot)} nodes are available"


def listed(counts: Counter[str]) -> str:
    """Reasons with their numbers of nodes."""
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def _best(found: Sequence[Candidate]) -> Candidate:
    least = min(candidate.rank() for candidate in found)
    equals = [candidate for candidate in found if candidate.rank() == least]
    latest = max(candidate.latest() for candidate in equals)
    return next(candidate for candidate in equals if candidate.latest() == latest)


def _by_budget(pods: Sequence[Demand], budgets: Sequence[Budget]) -> tuple[list[Demand], list[Demand]]:
    """Those whose going, after that of those before them, would violate a budget, and the others."""
    left = [each.allowed for each in budgets]
    violating: list[Demand] = []
    others: list[Demand] = []
    for pod in pods:
        is_violated = False
        for at, each in enumerate(budgets):
            if each.means(pod):
                left[at] -= 1
                is_violated = is_violated or left[at] < 0
        (violating if is_violated else others).append(pod)
    return violating, others


def _importance(pod: Demand) -> tuple[int, str]:
    return (-pod.priority, _started(pod))


def _started(pod: Demand) -> str:
    """When it started; one that has not yet did so later than all others."""
    return str((pod.pod.get("status") or {}).get("startTime") or "~")


def _is_going(pod: Object) -> bool:
    """Whether it is being deleted because it was pushed out."""
    condition = conditions.get(pod, TARGET)
    if condition is None or not objects.is_deleting(pod):
        return False
    return condition.get("status") == "True" and condition.get("reason") == BY_SCHEDULER
